"""`fastbp compat-path`: the folder to put on PYTHONPATH."""

from __future__ import annotations

import importlib
from argparse import Namespace

from fastbp.cli._options import Commands

# Interfaces whose modules lie in a package of their own, which PYTHONPATH can replace; those of
# the others lie beside the script, which comes first.
_FOLDERS = ("dlfs",)


def add_command(commands: Commands) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "compat-path", help="print the folder that replaces other code's modules",
        description="Print the folder which, put on PYTHONPATH, lets scripts import fastbp's "
                    "modules under the names that they know.")
    parser.add_argument("interface", metavar="NAME", choices=_FOLDERS,
                        help=f"whose modules: {', '.join(_FOLDERS)}")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Print it; 0."""
    print(importlib.import_module(f"fastbp.compat.{options.interface}").path())
    return 0
