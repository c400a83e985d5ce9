"""What may happen around epochs and steps: stop, save, log, show progress, heed signals.

A trainer calls the hooks of `Callback`; a callback reads `trainer.network` and may set
`trainer.stop = True` to end the fit after the epoch, or `trainer.stop_now = True` to end it at the
next edge of a step. Rows are those of `fastbp.history.History`.
"""

from __future__ import annotations

from fastbp.callbacks._base import Callback
from fastbp.callbacks._checkpoint import Checkpoint
from fastbp.callbacks._logging import CSVLogger, JSONLogger, LearningRateLogger
from fastbp.callbacks._progress import Progress
from fastbp.callbacks._signals import Signals
from fastbp.callbacks._stopping import EarlyStopping, TerminateOnNaN, TimeLimit
from fastbp.callbacks._tensorboard import TensorBoard

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "JSONLogger",
    "LearningRateLogger",
    "Progress",
    "Signals",
    "TensorBoard",
    "TerminateOnNaN",
    "TimeLimit",
]
