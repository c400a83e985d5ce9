"""`fastbp warmup`: compile everything now, so that no later run has to."""

from __future__ import annotations

import time
from argparse import Namespace

from fastbp._cache import cache_folder, cache_is_cold
from fastbp.cli._kernels import DTYPES, make_images_ready, make_ready
from fastbp.cli._options import Commands


def add_command(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "warmup", help="compile the kernels into the cache",
        description="Compile the kernels for this machine; later runs load them in moments.")
    parser.add_argument("--images", action="store_true",
                        help="also those of convolution and pooling, which take as long again")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Make the kernels of every dtype ready, those for images if asked; 0."""
    start = time.perf_counter()
    print(f"cache    {cache_folder() or 'none can be written: every process compiles anew'}")
    if not cache_is_cold():
        print("kernels  found in the cache; checking that they run")
    for number, dtype in enumerate(DTYPES, 1):
        print(f"[{number}/{len(DTYPES)}] {dtype} ...", end=" ", flush=True)
        print(f"{make_ready(dtype):.1f} s", end="", flush=True)
        print(f", for images {make_images_ready(dtype):.1f} s" if options.images else "")
    print(f"ready    {time.perf_counter() - start:.1f} s in all")
    return 0
