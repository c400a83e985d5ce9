"""Code cells of a notebook as plain Python: what only IPython knows is left out."""

from __future__ import annotations

import io
import json
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastbp._errors import DataError

# Commands of IPython that change nothing here.
_SILENT = re.compile(r"%(load_ext|reload_ext)\s+autoreload|%autoreload\b|%matplotlib\b")
# Commands in front of code that runs all the same.
_TIMED = re.compile(r"%time\s+(?=\S)")
_TRANSPARENT_CELL = re.compile(r"%%(time|capture)\b")
_HELP = re.compile(r"\?{1,2}[\w.]+|[\w.]+\?{1,2}")


@dataclass
class Notebook:
    """Sources of the code cells in order, and what was left out of them."""

    cells: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_notebook(path: Path) -> Notebook:
    """Read an .ipynb file (format 4).

    Lines with magics and shell commands are replaced by `pass`, so that line numbers stay.

    Raises:
        DataError: the file is no such notebook.
        OSError: it cannot be read.
    """
    notebook = Notebook()
    for number, source in enumerate(_sources(path), 1):
        before = len(notebook.skipped)
        notebook.cells.append(_plain(source, notebook.skipped))
        notebook.skipped[before:] = [f"{what} (cell {number})"
                                     for what in notebook.skipped[before:]]
    return notebook


def _sources(path: Path) -> list[str]:
    remedy = "save it with a current Jupyter"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: {error}", "a notebook, which is JSON", remedy) from None
    if not isinstance(content, dict) or content.get("nbformat", 0) < 4:
        raise DataError(f"{path}: no notebook of format 4", "nbformat 4 and cells", remedy)
    try:
        return ["".join(cell["source"]) for cell in content["cells"]
                if cell["cell_type"] == "code"]
    except (KeyError, TypeError):
        raise DataError(f"{path}: a cell without type or source", "cells of format 4",
                        remedy) from None


def _plain(source: str, skipped: list[str]) -> str:
    """A cell's source without IPython's own syntax; what is left out goes to `skipped`."""
    if source.startswith("%%"):
        command, _, rest = source.partition("\n")
        if not _TRANSPARENT_CELL.match(command):
            skipped.append(f"{command} with its cell")
            return ""
        source = f"pass\n{rest}"
    lines: list[str] = []
    for line in source.split("\n"):
        command = line.strip()
        special = command.startswith(("%", "!")) or _HELP.fullmatch(command)
        if special and _begins_statement(lines):
            indent = line[: len(line) - len(line.lstrip())]
            timed = _TIMED.match(command)
            if timed:
                line = indent + command[timed.end() :]
            else:
                line = f"{indent}pass"
                if not _SILENT.match(command):
                    skipped.append(command)
        lines.append(line)
    return "\n".join(lines)


def _begins_statement(lines: list[str]) -> bool:
    """True where the lines so far leave no string, bracket or backslash open."""
    if lines and lines[-1].endswith("\\"):
        return False
    try:
        for _ in tokenize.generate_tokens(io.StringIO("\n".join([*lines, ""])).readline):
            pass
    except tokenize.TokenError:
        return False
    except SyntaxError:  # not this one's fault
        return True
    return True
