"""`fastbp run`: a script or notebook, untouched, on fastbp's modules."""

from __future__ import annotations

import argparse
from argparse import Namespace

from fastbp.cli._options import Commands
from fastbp.compat._install import REPLACED
from fastbp.compat._runner import run_file


def add_command(commands: Commands) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "run", help="run a script written for other code on fastbp",
        description="Run SCRIPT, a Python file or a notebook (.ipynb), as it is, with the modules "
                    "that it imports replaced by fastbp's.")
    parser.add_argument("--compat", metavar="NAME", required=True, choices=tuple(REPLACED),
                        help=f"whose modules: {', '.join(REPLACED)}")
    parser.add_argument("--no-summary", action="store_true",
                        help="do not count and list the calls of fastbp")
    parser.add_argument("script", metavar="SCRIPT", help="the script or notebook")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER,
                        help="what the script finds in sys.argv")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Run it; the script's exit status.

    Raises:
        FastbpError: the file cannot be used; nothing has been run by then.
        SystemExit: the script's own.
    """
    return run_file(options.compat, options.script, options.arguments,
                    summary=not options.no_summary)
