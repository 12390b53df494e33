"""Choosing units by condition, rate and region, with the others listed."""

from __future__ import annotations

import numpy as np
import pytest
from recordings.made import small_recording, trace

from nwb_rnn.errors import InputError
from nwb_rnn.recordings import Recording, Table, Traces
from nwb_rnn.recordings.selection import mean_rates


def recording(**options):
    columns = {
        "quality": np.array(["good", "mua", "good"]),
        "region": np.array(["CA1", "CA3", "brain_region: CA1sp"]),
    }
    units = Table("units", np.array([10, 20, 30]), columns)
    trains = [np.linspace(0, 10, 100), np.linspace(0, 10, 10), np.linspace(0, 10, 50)]
    return small_recording(trains, units=units, span=(0, 10), **options)


def test_by_condition_rate_and_region():
    chosen = recording().select_units("quality == 'good' and rate > 6", min_rate=1)
    assert chosen.units.ids.tolist() == [10]
    assert len(chosen.spikes.times) == 100
    assert chosen.observed.offsets.tolist() == [0, 1]
    reasons = [d.reason for d in chosen.dropped]
    assert reasons == ["fails \"quality == 'good' and rate > 6\""]
    assert recording().select_units(min_rate=2).units.ids.tolist() == [10, 30]
    assert recording().select_units(region="ca1").units.ids.tolist() == [10]
    assert recording().select_units(region=["CA3", "CA1"]).units.ids.tolist() == [10, 20]
    assert recording().select_units(region="ca1SP").units.ids.tolist() == [30]
    assert recording().select_units("n_spikes == 10 or id == 30").units.ids.tolist() == [20, 30]


def test_rates_count_observed_time_alone():
    rates = mean_rates(small_recording([[0.5, 1.5]], observed=[[[0, 1], [1.2, 2.2], [2.0, 2.2]]]))
    np.testing.assert_allclose(rates, [2 / 2.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"choice": "quality == 'best'"}, "no unit of 3 is left"),
        ({"choice": [11]}, "no units with ids"),
        ({"choice": np.array([True])}, "needs 3 of them"),
        ({"region": "V1"}, "regions are"),
        ({"min_rate": 1e9}, "mean rate below"),
        ({"choice": "depth > 1"}, "names 'depth'"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        recording().select_units(**arguments)


def test_no_regions_at_all():
    with pytest.raises(InputError, match="no column of regions"):
        small_recording([[0.1]]).select_units(region="V1")


def test_channels_of_a_signal():
    base = trace(np.arange(30.0).reshape(10, 3))
    signal = Traces(
        "x", base.values, base.timestamps, np.array(["a", "b", "c"]), columns={"depth": np.arange(3)}
    )
    chosen = Recording.build(signals={"x": signal}).select_units("depth >= 1")
    assert chosen.traces.channels.tolist() == ["b", "c"]
    assert chosen.segments()["signal"].shape == (1, 10, 2)
    with pytest.raises(InputError, match="rates need spikes"):
        chosen.select_units(min_rate=1)
