"""The compiled loop counts as numpy does, spike for spike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwb_rnn.recordings import binning
from nwb_rnn.recordings.recording import Spikes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6), st.integers(0, 8))
def test_compiled_counts_equal_numpy_counts(seed, units, trials):
    rng = np.random.default_rng(seed)
    trains = [np.sort(rng.integers(0, 1000, rng.integers(0, 60)) / 100) for _ in range(max(units, 1))]
    offsets = np.concatenate([[0], np.cumsum([len(x) for x in trains])])
    spikes = Spikes(np.concatenate(trains), offsets.astype(np.int64))
    chosen = rng.permutation(len(trains))[:units]
    starts = rng.integers(-100, 1000, trials) / 100  # overlapping, unsorted, on bin edges
    bins = rng.integers(0, 30, trials)
    plain = binning.count_spikes(spikes, chosen, starts, bins, 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binning, "_WORTH_COMPILING", -1)
        compiled = binning.count_spikes(spikes, chosen, starts, bins, 0.1)
    np.testing.assert_array_equal(compiled, plain)
    assert compiled.dtype == plain.dtype
