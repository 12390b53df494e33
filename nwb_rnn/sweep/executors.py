"""Many fits of a low-rank RNN: in turn, in processes of their own with few threads each, or together.

Each fit has its own configuration and its own generators made from its own seed, so that what it ends at does
not depend on how many run beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from nwb_rnn.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN


@dataclass(frozen=True)
class FitJob:
    """One fit: `network` are arguments of `LowRankRNN`, `training` of its `fit`, plain values all of them."""

    network: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)


def fit_many(
    jobs: Sequence[FitJob],
    trials: xr.Dataset,
    validation: xr.Dataset | None = None,
    workers: int = 1,
    threads: int = 1,
    progress: bool = True,
    together: bool = False,
) -> list[LowRankRNN]:
    """Fit every job to the same trials; models in the order of the jobs, each as it would be alone.

    Parameters
    ----------
    validation : as for `LowRankRNN.fit`
    workers : processes; 1 fits in this one
    threads : of torch and of the compiled kernels, in each process beside this one
    together : fit jobs of equal shapes (seed, learning rate and iterations may differ) side by side in this
        process: on a GPU every iteration of all of them is one pass; on a CPU use workers

    Raises
    ------
    InputError : fewer than one worker or thread, workers beside `together`, or a job that cannot be fitted
    """
    if together:
        if workers > 1:
            raise InputError(
                f"together fits in this process, and workers={workers} was asked for: choose one"
            )
        return _fit_together(jobs, trials, validation, progress)
    found: list[LowRankRNN | None] = [None] * len(jobs)
    arguments = [(job, trials, validation) for job in jobs]
    for index, model in each(_fit, arguments, workers, threads, progress, "fits"):
        found[index] = model
    return [model for model in found if model is not None]


def each(
    function: Callable, arguments: Sequence[tuple], workers: int, threads: int, progress: bool, what: str
) -> Iterator[tuple[int, Any]]:
    """`function(*arguments[i])` for every i, as (i, result) when it is done, with a progress bar.

    `function` has to be one of a module where there are workers, for another process to find it.
    """
    from tqdm import tqdm

    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise InputError(f"{name}={value} must be at least 1")
    with tqdm(total=len(arguments), desc=what, disable=not progress) as bar:
        if workers == 1 or len(arguments) < 2:
            for index, given in enumerate(arguments):
                yield index, function(*given)
                bar.update()
            return
        # spawn: a forked process would inherit the state of torch's threads
        with ProcessPoolExecutor(workers, get_context("spawn"), _few_threads, (threads,)) as pool:
            futures = {pool.submit(function, *given): i for i, given in enumerate(arguments)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
                    bar.update()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _few_threads(threads: int) -> None:
    """Runs first in each worker: what asks for a number of threads later gets this one."""
    import os

    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def _fit_together(
    jobs: Sequence[FitJob], trials: xr.Dataset, validation: xr.Dataset | None, progress: bool
) -> list[LowRankRNN]:
    """Groups of equal shapes, one group after the other."""
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
    from nwb_rnn.estimators.training import Training

    models = [LowRankRNN(**job.network) for job in jobs]
    groups: dict[Hashable, list[Training]] = {}
    for model, job in zip(models, jobs, strict=True):
        fit = model.set_up_fit(trials, validation, **{"progress": False, **job.training})
        groups.setdefault(fit.shape, []).append(fit)
    arguments = [(group,) for group in groups.values()]
    for _ in each(Training.run_together, arguments, 1, 1, progress, "groups of fits"):
        pass
    return models


def _fit(job: FitJob, trials: xr.Dataset, validation: xr.Dataset | None) -> LowRankRNN:
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

    training = {"progress": False, **job.training}
    return LowRankRNN(**job.network).fit(trials, validation=validation, **training)
