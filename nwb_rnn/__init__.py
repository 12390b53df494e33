"""From an NWB recording to a fitted recurrent network, its dynamics, and back into NWB."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "read": "nwb_rnn.sources",
    "Recording": "nwb_rnn.recordings.recording",
    "evaluate": "nwb_rnn.metrics.evaluation",
    "LowRankRNN": "nwb_rnn.estimators.low_rank_rnn",
    "RateRNN": "nwb_rnn.estimators.rate_rnn",
    "TaskRNN": "nwb_rnn.estimators.task_rnn",
    "compare": "nwb_rnn.plotting.compare",
    "write": "nwb_rnn.storage",
    "load": "nwb_rnn.storage",
    "match_free_runs": "nwb_rnn.estimators.free_runs",
    "select_rank": "nwb_rnn.sweep.ranks",
}

__all__ = [
    "LowRankRNN",
    "RateRNN",
    "Recording",
    "TaskRNN",
    "compare",
    "evaluate",
    "load",
    "match_free_runs",
    "read",
    "select_rank",
    "write",
]

if TYPE_CHECKING:
    from nwb_rnn.estimators.free_runs import match_free_runs
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
    from nwb_rnn.estimators.rate_rnn import RateRNN
    from nwb_rnn.estimators.task_rnn import TaskRNN
    from nwb_rnn.metrics.evaluation import evaluate
    from nwb_rnn.plotting.compare import compare
    from nwb_rnn.recordings.recording import Recording
    from nwb_rnn.sources import read
    from nwb_rnn.storage import load, write
    from nwb_rnn.sweep.ranks import select_rank


def __getattr__(name: str):
    """Import a public name when it is first used, so that `import nwb_rnn` stays fast."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nwb_rnn' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
