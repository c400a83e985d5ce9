"""What tests of the command share: data files, and running a command."""

import csv
import json
from pathlib import Path

import numpy as np

import fastbp
from fastbp.cli import main

FAST = ("--hidden", "16", "--epochs", "5", "--dropout", "0", "--lr", "0.02", "--quiet")


def succeeds(capsys, *argv):
    """Run a command that must succeed, and return what it printed."""
    status = main(argv)
    out, err = capsys.readouterr()
    assert status == 0
    assert "error" not in err
    return out


def blobs(rows=240, classes=3, seed=0):
    """Well separated Gaussian clouds in four dimensions, of very different scales."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    centres = 6.0 * np.random.default_rng(99).standard_normal((classes, 4))
    x = centres[y] + rng.standard_normal((rows, 4))
    return x * [1, 1e-3, 1e4, 1] + [0, 0, 1e6, -3], y


def write_blobs(name, kinds=("cat", "dog", "eel"), header="a,b,c,d,kind", **settings):
    x, y = blobs(**settings)
    with Path(name).open("w", newline="") as stream:
        writer = csv.writer(stream)
        if header:
            writer.writerow(header.split(","))
        writer.writerows([*row, kinds[label]] for row, label in zip(x.tolist(), y, strict=True))
    return [kinds[label] for label in y]


def metrics(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def parameters(run):
    return fastbp.load(Path(run) / "model.safetensors").state_dict()


def write_line(name, rows=300, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 3)) * [1, 100, 0.01]
    y = 5e5 + 1000 * x @ [3, 0.05, 200] + noise * rng.standard_normal(rows)
    text = "\n".join(",".join(map(repr, row)) for row in np.column_stack([x, y]).tolist())
    Path(name).write_text(f"p,q,r,price\n{text}\n")
    return y
