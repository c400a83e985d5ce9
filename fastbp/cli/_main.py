"""Subcommands and the border at which errors become one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from fastbp._errors import FastbpError
from fastbp._version import __version__
from fastbp.cli import bench, compat_path, evaluate, info, predict, run, train, warmup
from fastbp.cli._options import Parser

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit status: the run failed; data or options cannot be used; Ctrl-C (128 + SIGINT)."""

_COMMANDS = (train, predict, evaluate, run, compat_path, bench, warmup, info)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit status.

    Raises:
        SystemExit: after --help, --version or a malformed command line, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except FastbpError as error:
        return _fail(str(error), MISUSED)
    except BrokenPipeError:
        # The reader of our output has left: no complaint, also not at the interpreter's exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)


def _fail(message: str, status: int) -> int:
    print(f"fastbp: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return status


def _parser() -> Parser:
    parser = Parser(prog="fastbp", description="Train neural networks on the CPU, fast.",
                    epilog="`fastbp COMMAND --help` lists a command's options.")
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_command(commands)
    return parser
