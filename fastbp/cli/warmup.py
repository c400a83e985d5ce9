"""`fastbp warmup`: compile everything now, so that no later run has to."""

from __future__ import annotations

import time
from argparse import Namespace

import numpy as np

import fastbp
from fastbp._jit import cache_folder, cache_is_cold
from fastbp.cli._options import Commands

_DTYPES = ("float32", "float64")
_ROWS, _FEATURES, _CLASSES = 64, 8, 3


def add_command(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "warmup", help="compile all kernels into the cache",
        description="Compile every kernel for this machine; later runs load them in moments.")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Run one small training and prediction for each dtype; 0."""
    start = time.perf_counter()
    print("cache    " + (str(cache_folder()) if cache_folder() else
                         "none: no folder can be written, every process compiles anew"))
    if not cache_is_cold():
        print("kernels  already compiled; checking that they run")
    for number, dtype in enumerate(_DTYPES, 1):
        begin = time.perf_counter()
        print(f"[{number}/{len(_DTYPES)}] {dtype} ...", end=" ", flush=True)
        _use(dtype)
        print(f"{time.perf_counter() - begin:.1f} s", flush=True)
    print(f"ready    {time.perf_counter() - start:.1f} s in all")
    return 0


def _use(dtype: str) -> None:
    """One training step and one prediction go through every compiled entry."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_ROWS, _FEATURES)).astype(dtype)
    y = rng.integers(0, _CLASSES, _ROWS)
    network = fastbp.Sequential([fastbp.Affine(_FEATURES, 16), fastbp.ReLU(),
                                 fastbp.Affine(16, _CLASSES)], dtype=dtype, seed=0)
    trainer = fastbp.Trainer(network, loss="softmax_cross_entropy", optimizer=fastbp.Adam(1e-3))
    trainer.fit(x, y, epochs=1, batch_size=32, progress=False)
    network.predict(x)
