"""`fastbp bench`: how fast fastbp is here, beside the packages that are installed."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from fastbp._runtime import set_num_threads, thread_count
from fastbp.cli._files import write_json, write_whole
from fastbp.cli._options import Commands, count

_FULL_ROUNDS, _QUICK_ROUNDS = 7, 3


def add_command(commands: Commands) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "bench", help="measure fastbp beside NumPy, PyTorch, JAX and scikit-learn",
        description="Time fastbp and every installed peer in turn, compare their results, and "
        "print how far ahead fastbp is.")
    parser.add_argument("--only", metavar="ROWS",
                        help="groups, or GROUP/NAME with * and ?, between commas")
    parser.add_argument("--list", action="store_true", help="print the names of all rows")
    parser.add_argument("--peers", metavar="NAMES",
                        help="compare with these only: numpy, torch, torch.compile, jax, sklearn; "
                        "or none")
    parser.add_argument("--threads", type=count, metavar="N", help="threads of every contestant")
    parser.add_argument("--rounds", type=count, metavar="N",
                        help="measures of each row and contestant "
                        f"(default {_FULL_ROUNDS}, {_QUICK_ROUNDS} with --quick)")
    parser.add_argument("--quick", action="store_true", help="short measures: a first impression")
    parser.add_argument("--mnist", metavar="FOLDER", help="folder with MNIST's four IDX files")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--markdown", action="store_true", help="print the README's table instead")
    parser.add_argument("--readme", metavar="FILE",
                        help="put the table between the speed markers of this Markdown file")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios (needs the extra `plot`)")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Measure and tell; 0, or 1 if a result of fastbp is wrong.

    Raises:
        FastbpError: the options cannot be used.
    """
    from fastbp.benchmark import report
    from fastbp.benchmark.contestants import chosen_peers
    from fastbp.benchmark.groups import GroupOptions, select
    from fastbp.benchmark.session import Session
    from fastbp.benchmark.timing import FULL, QUICK

    if options.threads:
        set_num_threads(options.threads)
    rows = select(options.only,
                  GroupOptions(options.quick, options.mnist, options.peers is not None))
    if options.list:
        print("\n".join(row.path for row in rows))
        return 0
    peers, absent = chosen_peers(options.peers)
    readme = None if options.readme is None else report.Readme(Path(options.readme))
    if options.plot:
        report.check_plot_can_be_drawn()
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _FULL_ROUNDS)
    with Session(thread_count(), rounds, peers, QUICK if options.quick else FULL,
                 _say) as session:
        found = report.Report.of(session, rows, absent)
    _say("")
    print(found.markdown() if options.markdown else found.text())
    if options.json:
        write_json(Path(options.json), found.record())
    if readme is not None:
        write_whole(readme.path, lambda part: readme.write(part, found.markdown()))
    if options.plot:
        write_whole(Path(options.plot), found.draw)
    return 1 if found.wrong else 0


def _say(line: str) -> None:
    """One line about what is going on, over the line before; nothing where stderr is a file."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
