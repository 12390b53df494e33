"""What is written comes back: models bit for bit, latents, fixed points, simulations."""

import json

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.dynamics.fixed_points import FixedPoints
from nwb_rnn.errors import InputError, SourceError, StorageError
from nwb_rnn.storage import load_fixed_points, load_latents
from nwb_rnn.storage.reading import read_model


@pytest.fixture
def written(tmp_path, session_path, fitted):
    """A derivative that holds everything."""
    return nr.write(
        tmp_path / "out.nwb",
        fitted.model,
        latents=fitted.latents,
        fixed_points=fitted.fixed_points,
        simulation=fitted.simulation,
        source=nr.read(session_path),
    )


def test_a_loaded_model_is_the_same_model_bit_for_bit(written, fitted, helpers):
    loaded = nr.load(written)
    assert helpers.same_arrays(fitted.model.to_arrays(), loaded.to_arrays())
    assert any(name.startswith("encoder_") for name in loaded.to_arrays())
    assert loaded.config == fitted.model.config
    assert loaded.history == fitted.model.history
    assert loaded.scores == fitted.model.scores
    assert loaded.software == fitted.model.software
    assert loaded.unit_ids == fitted.model.unit_ids
    again = loaded.infer(fitted.trials, **fitted.quick)
    for name in fitted.latents.data_vars:
        assert again[name].values.tobytes() == fitted.latents[name].values.tobytes()


def test_latents_come_back_with_their_trials(written, fitted):
    latents = load_latents(written)
    for name in fitted.latents.data_vars:
        np.testing.assert_array_equal(latents[name].values, fitted.latents[name].values)
    for name in ("trial", "time", "event_time", "direction"):
        np.testing.assert_array_equal(latents[name].values, fitted.latents[name].values)
    changed = {k for k, v in fitted.latents.attrs.items() if latents.attrs.get(k) != v}
    assert changed == {"source"}
    assert json.loads(latents.attrs["source"])["location"] == "session.nwb"


def test_fixed_points_come_back(written, fitted):
    points = FixedPoints.from_dict(load_fixed_points(written)).to_dict()
    for name, value in fitted.fixed_points.to_dict().items():
        np.testing.assert_array_equal(points[name], value)


def test_fixed_points_for_an_input_keep_it(tmp_path, fitted):
    points = fitted.fixed_points.describe(np.array([0.25, -1.0]))
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "p.nwb", fixed_points=points, session_start_time=start, dandi=False)
    np.testing.assert_array_equal(load_fixed_points(path)["inputs"], [0.25, -1.0])


def test_no_fixed_points_are_a_table_without_rows(tmp_path, fitted):
    none = fitted.fixed_points[np.zeros(0, int)]
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "p.nwb", fixed_points=none, session_start_time=start, dandi=False)
    assert load_fixed_points(path)["location"].shape == (0, 2)
    assert len(FixedPoints.from_dict(load_fixed_points(path))) == 0


def test_a_simulation_is_a_plain_table_with_its_times(written, fitted):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(written), "r") as io:
        table = io.read().processing["ecephys"]["low_rank_rnn_simulation"]
        assert type(table).__name__ == "DynamicTable"
        np.testing.assert_array_equal(table["counts"].data[:], fitted.simulation["counts"].values)
        np.testing.assert_array_equal(table["time"].data[:][1], fitted.simulation["time"].values)
        np.testing.assert_array_equal(table["mask"].data[:], fitted.simulation["mask"].values)


def test_latents_in_session_time_ascend_and_lie_at_event_plus_time(written, fitted):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(written), "r") as io:
        series = io.read().processing["ecephys"]["low_rank_rnn_latents_session_time"]
        stamps, values = series.timestamps[:], series.data[:]
    assert np.all(np.diff(stamps) > 0)
    mask = fitted.latents["mask"].values
    assert len(stamps) == mask.sum()
    trial, time = np.nonzero(mask)
    expected = fitted.latents["event_time"].values[trial] + fitted.latents["time"].values[time]
    np.testing.assert_allclose(stamps, expected, atol=1e-12)
    np.testing.assert_array_equal(values, fitted.latents["latent_mean"].values[trial, time])


def test_results_point_to_the_tables_of_their_own_file(written, fitted):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(written), "r") as io:
        nwbfile = io.read()
        module = nwbfile.processing["ecephys"]
        model, latents = module["low_rank_rnn"], module["low_rank_rnn_latents"]
        assert latents.model is model
        assert module["low_rank_rnn_fixed_points"].model is model
        assert latents.trials.table is nwbfile.trials
        assert model.observed_units.table is nwbfile.units
        rows = model.observed_units.data[:]
        assert nwbfile.units.id[:][rows].tolist() == fitted.model.unit_ids
        assert model.source_identifier == "session-1"
        assert model.source_location == "session.nwb"
        assert "z' = decay z + right_vectors r" in model.equations


def test_several_models_are_told_apart_by_name(tmp_path, session_path, fitted):
    path = nr.write(tmp_path / "two.nwb", fitted.model, source=session_path, name="first")
    nr.write(path, fitted.model, latents=fitted.latents, mode="append", name="second")
    with pytest.raises(StorageError, match="more than one fitted model: 'first', 'second'"):
        nr.load(path)
    assert nr.load(path, name="second").unit_ids == fitted.model.unit_ids
    assert load_latents(path, name="second").sizes["trial"] == fitted.latents.sizes["trial"]
    with pytest.raises(StorageError, match="'third'"):
        nr.load(path, name="third")
    with pytest.raises(StorageError, match="another name="):
        nr.write(path, fitted.model, mode="append", name="first")


def test_latents_written_later_link_to_the_model_that_is_there(tmp_path, session_path, fitted):
    path = nr.write(tmp_path / "a.nwb", fitted.model, source=session_path)
    nr.write(path, latents=fitted.latents, mode="append")
    assert load_latents(path, name="low_rank_rnn").attrs["kind"] == "smoothed"


def test_settings_that_the_extension_has_no_dataset_for_survive(tmp_path, session_path, fitted):
    stored = read_model(nr.write(tmp_path / "a.nwb", fitted.model, source=session_path))
    assert stored.arrays["noise"].shape == () and str(stored.arrays["noise"]) == "full"
    assert stored.arrays["filter_inputs"].dtype == bool


def test_any_array_survives_whatever_its_type(tmp_path, helpers):
    """An estimator of tomorrow: arrays that the type has no dataset for, of every kind and shape."""
    arrays = {
        "left_vectors": np.ones((3, 1), np.float32),
        "right_vectors": np.ones((1, 3), np.float32),
        "input_weights": np.zeros((3, 0), np.float32),
        "unit_bias": np.array([np.float32(1e-45), -0.0, np.float32(3.4e38)], dtype=np.float32),
        "decay": np.array(np.float32(0.1)),
        "bin_size": np.array(0.1),
        "activation": np.array("softplus"),
        "filter_inputs": np.array(False),
        "readout_gain": np.array(np.float32(2.0)),
        "encoder_one": np.array([np.float32(0.3)]),
        "encoder_deep": np.arange(24, dtype=np.float64).reshape(1, 2, 3, 4),
        "readout_network_weight": np.zeros((2, 2), np.float32),
        "odd_half": np.array([1.5], np.float16),
        "odd_long": np.array([[2**53 + 1]], np.int64),
        "odd_switch": np.array([True, False]),
        "odd_text": np.array(["a", "βγ"]),
        "odd_empty": np.zeros((0, 4)),
    }

    class RateLess:
        configuration, history, data_description = {"seed": 0}, [], {"unit_ids": ["a", "b"]}
        software, scores = {"x": "1"}, {"score": float("nan")}

        def to_arrays(self):
            return arrays

    model = type("LowRankRNN", (RateLess,), {})()
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "odd.nwb", model, session_start_time=start, dandi=False)
    assert helpers.same_arrays(arrays, read_model(path).arrays)


def test_what_is_not_a_result_is_refused(tmp_path, fitted):
    with pytest.raises(InputError, match="nothing to write"):
        nr.write(tmp_path / "a.nwb")
    with pytest.raises(InputError, match="a dict was given"):
        nr.write(tmp_path / "a.nwb", {"a": 1})
    with pytest.raises(InputError, match="latent_mean"):
        nr.write(tmp_path / "a.nwb", fitted.model, latents=fitted.trials)
    with pytest.raises(InputError, match="without slashes"):
        nr.write(tmp_path / "a.nwb", fitted.model, name="a/b")
    with pytest.raises(InputError, match="mode='replace'"):
        nr.write(tmp_path / "a.nwb", fitted.model, mode="replace")
    with pytest.raises(InputError, match="experimentor"):
        nr.write(tmp_path / "a.nwb", fitted.model, experimentor="me")
    assert list(tmp_path.iterdir()) == []


def test_files_without_models_are_refused(tmp_path, session_path):
    with pytest.raises(StorageError, match="no fitted model"):
        nr.load(session_path)
    with pytest.raises(StorageError, match="no set of latents"):
        load_latents(session_path)
    with pytest.raises(SourceError, match="no file"):
        nr.load(tmp_path / "nothing.nwb")


@pytest.mark.parametrize("kind", ["RateRNN", "TaskRNN"])
def test_networks_of_rate_units_are_stored_by_their_own_type(tmp_path, helpers, kind):
    """Estimators of this kind come later; anything with their names and attributes is stored."""
    arrays = {
        "recurrent_weights": np.ones((3, 3), np.float32),
        "time_constant": np.array(0.05),
        "mask": np.ones((3, 3), np.int8),
        "activation": np.array("tanh"),
        "bin_size": np.array(0.01),
    }
    about = {"configuration": {}, "history": [], "data_description": {}, "software": {}, "scores": {}}
    model = type(kind, (), about | {"to_arrays": lambda self: arrays})()
    start = "2024-01-01T00:00:00+00:00"
    stored = read_model(nr.write(tmp_path / "a.nwb", model, session_start_time=start, dandi=False))
    assert stored.kind == kind
    assert helpers.same_arrays(stored.arrays, arrays)
