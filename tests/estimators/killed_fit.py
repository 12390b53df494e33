"""A fit to be killed from outside: `python killed_fit.py checkpoint.npz result.npz`."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import small

from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

OPTIONS = small.QUICK | dict(iterations=40, validate_every=5)


def fit(checkpoint: str | None) -> dict[str, np.ndarray]:
    data = small.counts()
    model = LowRankRNN(rank=2, units=16, seed=1)
    train, validation = data.isel(trial=slice(0, 6)), data.isel(trial=slice(6, 8))
    model.fit(train, validation=validation, checkpoint=checkpoint, patience=100, **OPTIONS)
    return model.to_arrays()


if __name__ == "__main__":
    np.savez(sys.argv[2], **fit(sys.argv[1]))
