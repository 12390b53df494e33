"""A trained network's trials become a session of spikes that comes back from its file."""

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.delayed_reach import DelayedReach
from nwb_rnn.teachers.network_session import network_session


@pytest.fixture(scope="module")
def simulated():
    model = nr.TaskRNN(units=20, seed=3).fit(DelayedReach(), iterations=60, progress=False)
    return model.simulate(DelayedReach(), count=40)


def test_counts_follow_the_rates_and_events_stand_where_they_were(simulated, tmp_path):
    """The correlation of counts with rates is near 0.5; it would be 0 ± 0.01 without a relation."""
    recording = network_session(simulated, seed=1)
    path = write_session(tmp_path / "network.nwb", recording, experimenter="Computer, A")
    back = nr.read(path)
    trials = back.align("start_time", until="stop_time", bin_size=0.02)
    inside = simulated["mask"].values
    bins = min(inside.shape[1], trials.sizes["time"])
    rates = simulated["signal"].values[:, :bins]
    rates = (rates - rates.min((0, 1))) / np.ptp(rates, axis=(0, 1))
    counts, seen = trials["counts"].values[:, :bins], inside[:, :bins]
    assert np.corrcoef(counts[seen].ravel(), rates[seen].ravel())[0, 1] > 0.2
    table = back.intervals["trials"].columns
    np.testing.assert_allclose(table["go_time"] - table["start_time"], simulated["go_time"].values)
    np.testing.assert_array_equal(table["direction"], simulated["direction"].values)
    made = np.concatenate([simulated["outputs"].values[i][inside[i]] for i in range(40)])
    np.testing.assert_array_equal(back.behaviour["outputs"].values, made)


def test_other_things_are_refused(simulated):
    with pytest.raises(InputError, match="network_session takes"):
        network_session(simulated.drop_vars("signal"))
