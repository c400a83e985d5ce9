"""TensorBoard's event files, written by the package of that name (extra `tensorboard`)."""

from __future__ import annotations

import importlib.util
import os
import time
from typing import Any

from fastbp._errors import ArgumentError
from fastbp.callbacks._base import Callback
from fastbp.history import Row, plain


class TensorBoard(Callback):
    """Write each number of a row as a scalar, with the epoch as its step.

    A resumed fit marks what came after its checkpoint as gone; TensorBoard then does not show it.

    Arguments:
        folder: for event files; `tensorboard --logdir FOLDER` shows them.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ArgumentError("tensorboard is not installed", "",
                                'pip install "fastbp[tensorboard]"')
        self.folder = os.fspath(folder)
        self._writer: Any = None

    def on_fit_begin(self, trainer: Any) -> None:
        """Begin an event file."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(self.folder)
        if getattr(trainer, "resumed", False):
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=len(trainer.history) + 1,
                                         session_log=start))

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Write the row, to the disk at once."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in plain(row).items()
                  if isinstance(value, (int, float)) and name != "epoch"]
        self._writer.add_event(Event(wall_time=time.time(), step=int(row["epoch"]),
                                     summary=Summary(value=values)))
        self._writer.flush()

    def on_fit_end(self, trainer: Any) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
