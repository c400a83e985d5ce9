"""`fastbp info`: versions, CPU, vectors, threads, cache; what a bug report needs."""

from __future__ import annotations

from argparse import Namespace

from fastbp._runtime import show_versions
from fastbp.cli._options import Commands


def add_command(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("info", help="versions, CPU features, threads and cache folder")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Print the facts; 0."""
    print(show_versions())
    return 0
