"""The progress bar."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastbp.callbacks._base import Callback
from fastbp.history import Row


class Progress(Callback):
    """A progress bar over the epochs on standard error, with the metrics of the last one.

    Arguments:
        total: how many epochs there will be; None asks `trainer.epochs`.
        force: show it even where standard error is no terminal (there it stays silent).
    """

    def __init__(self, total: int | None = None, force: bool = False) -> None:
        self.total, self.force = total, force
        self._bar: Any = None

    def on_fit_begin(self, trainer: Any) -> None:
        """Show a bar; a resumed fit's begins where the fit does."""
        if not self.force and not sys.stderr.isatty():
            return
        from tqdm import tqdm

        total = self.total if self.total is not None else getattr(trainer, "epochs", None)
        done = len(trainer.history) if getattr(trainer, "resumed", False) else 0
        self._bar = tqdm(total=total, initial=done, unit="epoch", file=sys.stderr,
                         dynamic_ncols=True)

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Advance the bar."""
        if self._bar is not None:
            shown = {
                k: f"{v:.4g}"
                for k, v in row.items()
                if isinstance(v, (float, np.floating)) and k != "seconds"
            }
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(1)

    def on_fit_end(self, trainer: Any) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
