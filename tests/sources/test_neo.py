"""neo spike trains, segments and blocks."""

import numpy as np
import pytest
from interop_cases import as_neo, make_session

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording, Table, Traces

neo = pytest.importorskip("neo")
pq = pytest.importorskip("quantities")


def train(times, stop=10.0, start=0.0, units="s", **facts):
    return neo.SpikeTrain(np.asarray(times), units=units, t_start=start, t_stop=stop, **facts)


def segment(*trains, **parts):
    made = neo.Segment()
    made.spiketrains.extend(trains)
    for name, items in parts.items():
        getattr(made, name).extend(items)
    return made


def test_list_of_trains_in_milliseconds():
    recording = nr.read([train([100.0, 200.0], 5000.0, units="ms"), train([300.0], 5000.0, units="ms")])
    np.testing.assert_allclose(recording.spikes.times, [0.1, 0.2, 0.3], rtol=1e-15)
    assert recording.span == (0.0, 5.0)
    np.testing.assert_array_equal(recording.observed.of(1), [[0.0, 5.0]])


def test_single_train_and_spiketrainlist():
    assert len(nr.read(train([1.0])).units) == 1
    assert len(nr.read(segment(train([1.0]), train([2.0])).spiketrains).units) == 2


def test_ids_names_and_annotations():
    a = train([1.0], name="first", unit_id=7, quality="good", depth=1.5, only_here=1, matrix=np.eye(2))
    b = train([2.0], name="second", unit_id=3, quality="mua", depth=2.5)
    units = nr.read([a, b]).units
    assert units.ids.tolist() == [7, 3]
    assert sorted(units.columns) == ["depth", "name", "quality"]
    assert units.columns["name"].tolist() == ["first", "second"]


def test_ids_that_are_not_unique_are_columns():
    units = nr.read([train([1.0], unit_id=7), train([2.0], unit_id=7)]).units
    assert units.ids.tolist() == [0, 1]
    assert units.columns["unit_id"].tolist() == [7, 7]


def test_a_stop_at_the_last_spike_says_nothing():
    assert nr.read([train([1.0, 2.0], 9.5), train([3.0, 9.5], 9.5)]).observed is None
    assert nr.read([train([1.0, 2.0], 9.5), train([3.0, 9.0], 9.5)]).observed is not None


def test_epochs_events_and_signals():
    epoch = neo.Epoch(
        times=[1000.0, 3000.0] * pq.ms,
        durations=[500.0, 500.0] * pq.ms,
        labels=np.array(["a", "b"]),
        name="trials",
        array_annotations={"go_time": np.array([1.1, 3.1])},
    )
    event = neo.Event(times=[2.0, 4.0] * pq.s, labels=np.array(["x", "y"]), name="tone")
    unnamed = [neo.Event(times=[t] * pq.s, labels=np.array(["z"])) for t in (1.0, 2.0)]
    lfp = neo.AnalogSignal(
        np.arange(20.0).reshape(10, 2), units="mV", sampling_rate=10 * pq.Hz, t_start=1 * pq.s, name="lfp"
    )
    pupil = neo.IrregularlySampledSignal(
        [0.0, 1.0, 3.0] * pq.s, [[1.0], [2.0], [3.0]], units="mm", name="pupil"
    )
    source = segment(
        train([1.0]),
        epochs=[epoch],
        events=[event, *unnamed],
        analogsignals=[lfp],
        irregularlysampledsignals=[pupil],
    )
    recording = nr.read(source, behaviour=["pupil"])
    trials = recording.intervals["trials"].columns
    assert trials["start_time"].tolist() == [1.0, 3.0] and trials["stop_time"].tolist() == [1.5, 3.5]
    assert trials["label"].tolist() == ["a", "b"] and trials["go_time"].tolist() == [1.1, 3.1]
    assert recording.events["tone"].columns["timestamp"].tolist() == [2.0, 4.0]
    assert {"events", "events_1"} < set(recording.events)
    assert recording.signals["lfp"].values.shape == (10, 2)
    np.testing.assert_allclose(recording.signals["lfp"].timestamps, 1 + np.arange(10) / 10)
    assert recording.signals["lfp"].physical_unit == "mV"
    assert recording.behaviour["pupil"].timestamps.tolist() == [0.0, 1.0, 3.0]


def test_analog_signal_alone_is_a_recording():
    signal = neo.AnalogSignal(np.zeros((50, 3)), units="V", sampling_rate=1 * pq.kHz)
    recording = nr.read(signal)
    assert recording.spikes is None and recording.traces.values.shape == (50, 3)
    assert recording.span == pytest.approx((0.0, 0.05))


def block_of(*segments):
    block = neo.Block()
    block.segments.extend(segments)
    return block


def test_segments_on_one_clock_are_joined():
    block = block_of(
        segment(train([1.0, 2.0], 4.0, name="a"), train([3.0], 4.0, name="b")),
        segment(train([6.0], 9.0, 5.0, name="a"), train([7.0, 8.0], 9.0, 5.0, name="b")),
    )
    recording = nr.read(block)
    assert recording.spikes.of(0).tolist() == [1.0, 2.0, 6.0]
    assert recording.spikes.of(1).tolist() == [3.0, 7.0, 8.0]
    assert recording.observed.of(0).tolist() == [[0.0, 4.0], [5.0, 9.0]]
    assert recording.intervals["segments"].columns["start_time"].tolist() == [0.0, 5.0]
    assert nr.read(block, segment=1).spikes.of(0).tolist() == [6.0]


def test_segments_that_start_anew():
    def trial(*times):
        event = neo.Event(times=[0.5] * pq.s, labels=np.array(["go"]), name="go")
        return segment(train(times, 2.0), events=[event])

    block = block_of(trial(0.1), trial(0.2, 1.9), trial(1.0))
    with pytest.raises(InputError, match="end_to_end"):
        nr.read(block)
    recording = nr.read(block, layout="end_to_end", gap=0.5)
    np.testing.assert_allclose(recording.spikes.times, [0.1, 2.7, 4.4, 6.0])
    np.testing.assert_allclose(recording.events["go"].columns["timestamp"], [0.5, 3.0, 5.5])
    assert recording.events["go"].columns["segment"].tolist() == [0, 1, 2]
    counts = recording.align("start_time", table="segments", window=(0.0, 2.0), bin_size=0.5)["counts"]
    assert counts.values[:, :, 0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]


def test_segments_with_other_units_are_refused():
    first = segment(train([1.0], 2.0, name="a"))
    with pytest.raises(InputError, match="same units"):
        nr.read(block_of(first, segment(train([3.0], 4.0, 2.0, name="a"), train([3.0], 4.0, 2.0, name="b"))))
    with pytest.raises(InputError, match="differ in name"):
        nr.read(block_of(first, segment(train([3.0], 4.0, 2.0, name="b"))))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (neo.Block(), {}, "no segments"),
        (neo.Segment(), {}, "neither spike trains nor signals"),
        ([train([1.0]), 3], {}, "among the neo objects"),
        (train([1.0]), {"segment": 1}, "counted from 0"),
        (train([1.0]), {"layout": "stacked"}, "own_clocks"),
    ],
)
def test_refusals(source, options, message):
    with pytest.raises(InputError, match=message):
        nr.read(source, **options)


def full_recording():
    rng = np.random.default_rng(3)
    spikes = [np.sort(rng.uniform(0, 20, 50)) for _ in range(3)]
    trials = Table(
        "trials",
        np.array([4, 8]),
        {
            "start_time": np.array([1.0, 5.0]),
            "stop_time": np.array([3.0, np.nan]),
            "side": np.array(["l", "r"]),
        },
    )
    beeps = Table("beep", np.arange(2), {"timestamp": np.array([2.0, 6.0]), "loud": np.array([0.5, 1.5])})
    even = Traces("position", rng.normal(size=(40, 2)), np.arange(40) / 2, np.array(["x", "y"]), "meters")
    uneven = Traces("lfp", rng.normal(size=(3, 1)), np.array([0.0, 1.0, 5.0]), np.array([9]), "strange unit")
    return Recording.build(
        units=Table(
            "units", np.array([11, 5, 7]), {"area": np.array(["M1", "M1", "V1"]), "snr": np.arange(3.0)}
        ),
        spikes=spikes,
        intervals={"trials": trials},
        events={"beep": beeps},
        signals={"lfp": uneven},
        behaviour={"position": even},
        span=(0.0, 20.0),
    )


def test_out_and_back():
    recording = full_recording()
    block = recording.to_neo()
    assert isinstance(block, neo.Block) and len(block.segments) == 1
    assert isinstance(block.segments[0].analogsignals[0], neo.AnalogSignal)
    assert isinstance(block.segments[0].irregularlysampledsignals[0], neo.IrregularlySampledSignal)
    back = nr.read(block)
    np.testing.assert_array_equal(back.spikes.times, recording.spikes.times)
    assert back.units.ids.tolist() == [11, 5, 7]
    assert back.units.columns["area"].tolist() == ["M1", "M1", "V1"]
    assert back.intervals["trials"].ids.tolist() == [4, 8]
    np.testing.assert_array_equal(back.intervals["trials"].columns["stop_time"], [3.0, np.nan])
    assert back.events["beep"].columns["loud"].tolist() == [0.5, 1.5]
    np.testing.assert_array_equal(back.behaviour["position"].values, recording.behaviour["position"].values)
    assert back.behaviour["position"].channels.tolist() == ["x", "y"]
    assert back.behaviour["position"].physical_unit == "meters"
    assert back.signals["lfp"].physical_unit == "strange unit"
    assert back.span == recording.span


def test_out_holds_spikes_outside_the_span():
    recording = Recording.build(spikes=[np.array([-1.0, 25.0])], span=(0.0, 20.0))
    spikes = recording.to_neo().segments[0].spiketrains[0]
    assert float(spikes.t_start) == -1.0 and float(spikes.t_stop) == 25.0


@pytest.mark.parametrize("unit", ["9**9**9**9", "__import__('os')", "m s", "if", "", "notaunit", "V"])
def test_text_of_a_unit_is_not_evaluated(unit):
    traces = Traces("x", np.zeros((3, 1)), np.arange(3.0), np.arange(1), unit)
    block = Recording.build(signals={"x": traces}).to_neo()
    signal = block.segments[0].analogsignals[0]
    assert signal.dimensionality.string == ("V" if unit == "V" else "dimensionless")
    assert nr.read(block).signals["x"].physical_unit == (unit or "dimensionless")


def test_elephant_takes_what_comes_out():
    statistics = pytest.importorskip("elephant.statistics")
    recording = nr.read(as_neo(make_session(0, seconds=10)))
    spikes = recording.to_neo().segments[0].spiketrains[0]
    rate = float(statistics.mean_firing_rate(spikes).rescale("Hz"))
    assert rate == pytest.approx(len(recording.spikes.of(0)) / 10.0)
