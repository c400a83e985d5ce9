"""Runs an untouched script or notebook with its modules replaced by fastbp's."""

from __future__ import annotations

import builtins
import contextlib
import linecache
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from fastbp._errors import ArgumentError
from fastbp.compat import _counting
from fastbp.compat._counting import Watch
from fastbp.compat._install import install, replaced_modules
from fastbp.compat._notebook import read_notebook

FAILED, INTERRUPTED = 1, 130
"""Exit status: an exception that the script did not catch; Ctrl-C (128 + SIGINT)."""


def run_file(interface: str, path: str, arguments: Sequence[str], *, summary: bool = True) -> int:
    """Run a script, or the code cells of a notebook (.ipynb), as `python path arguments` would.

    It becomes `__main__`, with `sys.argv`, its folder first on `sys.path`, and for a notebook as
    the current folder. An exception that it does not catch is printed as Python prints it,
    without frames of the runner. In the end a table of what was called goes to standard error
    (`summary`). This process should do nothing else afterwards: modules stay replaced, and with
    `summary` their functions wrapped.

    Arguments:
        interface: a key of `REPLACED`.
    Returns:
        The exit status, unless the script itself exits.
    Raises:
        ArgumentError: no such interface; or path is no file.
        DataError: the notebook cannot be read as one.
        SystemExit: the script's own.
    """
    modules = replaced_modules(interface)
    if not Path(path).is_file():
        raise ArgumentError(f"{path}: no such file", "a Python script or a notebook (.ipynb)")
    pieces = _notebook_pieces(path) if path.endswith(".ipynb") else _script_pieces(path)
    install(interface)
    watch = Watch(modules) if summary else None
    try:
        return _execute(path, arguments, pieces)
    finally:
        if watch:
            with contextlib.suppress(OSError, ValueError):  # standard error has been closed
                sys.stdout.flush()
                sys.stderr.write(watch.summary(interface) + "\n")


def _script_pieces(path: str) -> Iterator[CodeType]:
    source = Path(path).read_bytes()

    def pieces() -> Iterator[CodeType]:
        yield compile(source, path, "exec", dont_inherit=True)

    return pieces()


def _notebook_pieces(path: str) -> Iterator[CodeType]:
    """The cells' code, one at a time: an error in one does not stop those before it."""
    notebook = read_notebook(Path(path))
    if notebook.skipped:
        skipped = ", ".join(notebook.skipped)
        sys.stderr.write(f"fastbp: skipped what only IPython knows: {skipped}\n")
    # Nobody sees windows here, and one that is shown would wait to be closed.
    os.environ.setdefault("MPLBACKEND", "agg")
    warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")

    def pieces() -> Iterator[CodeType]:
        os.chdir(Path(path).resolve().parent)
        for number, source in enumerate(notebook.cells, 1):
            name = f"<{Path(path).name}, code cell {number}>"
            linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
            yield compile(source, name, "exec", dont_inherit=True)

    return pieces()


def _execute(path: str, arguments: Sequence[str], pieces: Iterator[CodeType]) -> int:
    """Run the pieces in a new `__main__`; the exit status."""
    main = ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=builtins, __cached__=None)
    sys.modules["__main__"] = main
    sys.argv = [path, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(path).resolve().parent)
    try:
        for piece in pieces:
            exec(piece, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_runner(error)
        sys.stdout.flush()
        if sys.excepthook is sys.__excepthook__:
            traceback.print_exception(error)  # the hook knows no lines of cells
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
    return 0


def _hide_runner(error: BaseException | None) -> None:
    """Take the runner's own frames out of the tracebacks of an error and of those behind it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = []
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename not in (__file__, _counting.__file__):
                frames.append(trace)
            trace = trace.tb_next
        for frame, following in zip(frames, [*frames[1:], None], strict=False):
            frame.tb_next = following
        error.__traceback__ = frames[0] if frames else None
        error = error.__cause__ or error.__context__
