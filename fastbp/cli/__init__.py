"""The `fastbp` command: one file a subcommand, errors as one line (docs/cli.md)."""

from __future__ import annotations

from fastbp.cli._main import main

__all__ = ["main"]
