"""What else predicts held-out units: the baselines of pmd_reach.py.

Each takes the trials, the indices of training and test trials, and `held` (D,), True for held-out units,
and returns bits per spike of the held-out units on the test trials.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from nwb_rnn.metrics.likelihood import bits_per_spike

_FLOOR = 1e-3  # expected counts per bin


def _score(expected, trials, test, held) -> float:
    counts = trials.counts.values[test][..., held]
    return bits_per_spike(np.maximum(expected, _FLOOR), counts, trials.mask.values[test])


def mean_rate(trials, train, test, held) -> float:
    mean = trials.counts.values[train][..., held].mean((0, 1))
    shape = (len(test), trials.sizes["time"], held.sum())
    return _score(np.broadcast_to(mean, shape), trials, test, held)


def condition_averages(trials, train, test, held) -> float:
    """The mean over training trials of the same reach direction, smoothed with σ = 40 ms."""
    name = next(n for n in ("condition", "direction", "reach_direction", "target") if n in trials.coords)
    condition = trials[name].values
    counts = gaussian_filter1d(trials.counts.values, 2.0, axis=1, mode="nearest")
    means = {c: counts[train][condition[train] == c].mean(0)[:, held] for c in np.unique(condition)}
    return _score(np.stack([means[c] for c in condition[test]]), trials, test, held)


def smoothed_regression(trials, train, test, held) -> float:
    """Held-in counts smoothed with σ = 40 ms, then a Poisson regression for each held-out unit."""
    smooth = gaussian_filter1d(trials.counts.values[..., ~held], 2.0, axis=1, mode="nearest")
    return _score(_poisson_from(smooth, trials, train, test, held), trials, test, held)


def gaussian_process_factors(trials, train, test, held, latents: int = 8) -> float:
    """GPFA (Yu et al. 2009) on the held-in units, then a Poisson regression on its factors."""
    import neo
    import quantities as pq
    from elephant.gpfa import GPFA

    duration = float(trials.attrs["window"][1]) * pq.s
    width = trials.attrs["bin_size"]
    rng = np.random.default_rng(0)

    def trains(index):
        result = []
        for b in index:
            spikes = []
            for d in np.flatnonzero(~held):
                counts = trials.counts.values[b, :, d].astype(int)
                bins = np.repeat(np.arange(len(counts)), counts)
                times = np.sort((bins + rng.uniform(0.05, 0.95, len(bins))) * width)
                spikes.append(neo.SpikeTrain(times * pq.s, t_stop=duration))
            result.append(spikes)
        return result

    model = GPFA(bin_size=width * pq.s, x_dim=latents)
    model.fit(trains(train))
    found = np.zeros((trials.sizes["trial"], trials.sizes["time"], latents))
    for index in (train, test):
        found[index] = np.stack([x.T for x in model.transform(trains(index))])
    return _score(_poisson_from(found, trials, train, test, held), trials, test, held)


def gru_autoencoder(trials, train, test, held, latents: int = 8, steps: int = 400, seed: int = 0) -> float:
    """A bidirectional GRU from held-in counts to `latents` numbers a bin, read out log-linearly.

    Coordinated dropout: two fifths of the input entries are hidden at random in each step, and only hidden
    entries and held-out units count in the loss; half of the GRU's inputs and outputs are dropped as well.
    Sizes, dropout and the number of steps were chosen on a fifth of the training trials: without the
    dropout, or with 1,500 steps, it learns the training trials by heart and the score falls below 0.30.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    counts = torch.as_tensor(trials.counts.values)
    seen = torch.as_tensor(~held)
    hidden = 0.4
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        gru = torch.nn.GRU(int(seen.sum()), 128, batch_first=True, bidirectional=True)
        down, up = torch.nn.Linear(256, latents), torch.nn.Linear(latents, len(held))
        with torch.no_grad():
            up.bias.copy_(torch.log(counts[train].mean((0, 1)) + 1e-3))
        parameters = [*gru.parameters(), *down.parameters(), *up.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        order = torch.as_tensor(np.asarray(train))
        drop = torch.nn.Dropout(0.5)
        for _ in range(steps):
            batch = counts[order[torch.randperm(len(order), generator=generator)[:48]]]
            hide = torch.rand(batch[..., seen].shape, generator=generator) < hidden
            given = torch.where(hide, torch.zeros(()), batch[..., seen] / (1 - hidden))
            eta = up(down(drop(gru(drop(given))[0])))
            loss = torch.exp(eta) - batch * eta
            weight = torch.ones_like(loss)
            weight[..., seen] = hide.float()
            optimiser.zero_grad()
            ((loss * weight).sum() / weight.sum()).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        expected = torch.exp(up(down(gru(counts[test][..., seen])[0]))).numpy()
    return _score(expected[..., held], trials, test, held)


def _poisson_from(features, trials, train, test, held) -> np.ndarray:
    """Poisson regression of each held-out unit on features (B, T, F), the penalty chosen by 4 folds."""
    from sklearn.linear_model import PoissonRegressor
    from sklearn.model_selection import GridSearchCV

    flat = features[train].reshape(-1, features.shape[2])
    centre, spread = flat.mean(0), flat.std(0) + 1e-9
    given = (features[test].reshape(-1, features.shape[2]) - centre) / spread
    search = GridSearchCV(PoissonRegressor(max_iter=500), {"alpha": [0.01, 0.1, 0.3, 1.0]}, cv=4)
    expected = []
    for d in np.flatnonzero(held):
        search.fit((flat - centre) / spread, trials.counts.values[train][..., d].ravel())
        expected.append(search.predict(given).reshape(len(test), -1))
    return np.stack(expected, axis=2)
