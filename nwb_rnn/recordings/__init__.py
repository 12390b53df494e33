"""What was recorded, and how it becomes trials: types, alignment, selection, splits."""

from nwb_rnn.recordings.recording import (
    Dropped,
    Observed,
    Provenance,
    Recording,
    Spikes,
    Table,
    Traces,
)

__all__ = ["Dropped", "Observed", "Provenance", "Recording", "Spikes", "Table", "Traces"]
