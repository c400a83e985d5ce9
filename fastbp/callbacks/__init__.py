"""What may happen around epochs and steps: stop, save, log, show progress, heed signals.

A trainer calls the hooks of `Callback`; a callback reads `trainer.network` and may set
`trainer.stop = True` to end the fit after the epoch, or `trainer.stop_now = True` to end it at the
next edge of a step. Rows are those of `fastbp.history.History`.
"""

from typing import TYPE_CHECKING

from fastbp._lazy import lazily

if TYPE_CHECKING:
    from fastbp.callbacks._base import Callback
    from fastbp.callbacks._checkpoint import Checkpoint
    from fastbp.callbacks._logging import CSVLogger, JSONLogger, LearningRateLogger
    from fastbp.callbacks._progress import Progress
    from fastbp.callbacks._signals import Signals
    from fastbp.callbacks._stopping import EarlyStopping, TerminateOnNaN, TimeLimit
    from fastbp.callbacks._tensorboard import TensorBoard
else:
    __getattr__, __dir__ = lazily(__name__, {
        "_base": "Callback",
        "_checkpoint": "Checkpoint",
        "_logging": "CSVLogger JSONLogger LearningRateLogger",
        "_progress": "Progress",
        "_signals": "Signals",
        "_stopping": "EarlyStopping TerminateOnNaN TimeLimit",
        "_tensorboard": "TensorBoard",
    })

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
