"""Cases by number in a child process: a signal is a failed case, and its number is printed.

A file of cases has `case(seed)` and ends with `main(case)`; `python FILE SEED` repeats one case,
`python FILE FIRST COUNT` runs a range.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent


def main(case: Callable[[int], int]) -> None:
    """Run the cases that the command line names; `case` returns how many elements it compared."""
    faulthandler.enable()
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    progress = os.environ.get("FASTBP_TEST_PROGRESS")
    file = os.open(progress, os.O_RDWR | os.O_CREAT) if progress else None
    compared = 0
    for seed in range(first, first + count):
        if file is not None:
            os.pwrite(file, b"%-20d" % seed, 0)
        try:
            compared += case(seed)
        except BaseException:
            sys.stderr.write(f"case {seed} failed: python {sys.argv[0]} {seed}\n")
            raise
    sys.stdout.write(f"{count} cases, {compared} elements compared\n")
    if compared < count:
        sys.exit("MISTRUSTED: compared next to nothing")


class CaseError(AssertionError):
    """A case failed in the child; the message tells which one and how to repeat it."""


def run_cases(name: str, first: int, count: int, *, timeout: float = 600, **environment: str
              ) -> int:
    """Run cases of tests/reliability/<name>.py in a child; how many elements they compared.

    Raises CaseError where one fails: an exception, a signal, or too long.
    """
    paths = os.pathsep.join(str(folder) for folder in (HERE.parents[1], HERE.parent, HERE))
    with tempfile.NamedTemporaryFile() as progress:
        result = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), str(first), str(count)], text=True,
            capture_output=True, timeout=timeout, check=False,
            env={**os.environ, **environment, "FASTBP_TEST_PROGRESS": progress.name,
                 "PYTHONPATH": paths})
        seed = Path(progress.name).read_text().strip()
    if result.returncode:
        why = (signal.Signals(-result.returncode).name if result.returncode < 0
               else f"exit {result.returncode}")
        raise CaseError(f"{name} case {seed}: {why}; python tests/reliability/{name}.py {seed}\n"
                        f"{result.stderr[-3000:]}")
    return int(result.stdout.split()[2])
