"""How fastbp.compat.cs231n stands in for the course's package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastbp._errors import ArgumentError
from fastbp.compat import cs231n

STAR = """
from cs231n.{} import *
np.zeros(1)
"""


def run(code: str, folder: Path) -> str:
    """What a fresh process prints that starts in the folder."""
    root = str(Path(cs231n.__file__).parents[3])
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = ['', {root!r}]\n{code}"],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def course(folder: Path) -> None:
    """A package like a student's: modules that would give themselves away, and others."""
    package = folder / "cs231n"
    (package / "classifiers").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "data_utils.py").write_text("WHOSE = 'student'\n")
    for name in ("layers", "optim", "fast_layers"):
        (package / f"{name}.py").write_text("WHOSE = 'student'\n")
    (package / "classifiers" / "__init__.py").write_text(
        "from .k_nearest_neighbor import *\nfrom .linear_classifier import *\n")
    (package / "classifiers" / "k_nearest_neighbor.py").write_text("class KNearestNeighbor: pass\n")


def test_every_module_is_found_and_brings_numpy_without_the_course(tmp_path):
    stars = "".join(STAR.format(name) for name in cs231n.MODULES)
    code = f"""
from fastbp.compat import cs231n as ours
ours.install()
{stars}
import cs231n.layers, cs231n.classifiers.fc_net
from cs231n import optim, layers
from cs231n.classifiers import Softmax, LinearSVM
print(cs231n.layers is layers, optim.__name__, cs231n.classifiers.fc_net.__name__)
print(sys.modules["cs231n.layers"] is layers, "cs231n.im2col_cython" in sys.modules)
print([f.__name__ for f in (affine_forward, conv_forward_fast, affine_relu_forward, adam, Solver)])
"""
    assert run(code, tmp_path).splitlines() == [
        "True fastbp.compat.cs231n.optim fastbp.compat.cs231n.classifiers.fc_net",
        "True False",
        "['affine_forward', 'conv_forward_fast', 'affine_relu_forward', 'adam', 'Solver']",
    ]


def test_the_rest_of_the_course_stays(tmp_path):
    course(tmp_path)
    code = """
from fastbp.compat.cs231n import install
install()
import cs231n.data_utils, cs231n.layers
from cs231n import optim
from cs231n.classifiers import KNearestNeighbor, Softmax
from cs231n.classifiers.fc_net import FullyConnectedNet
print(cs231n.data_utils.WHOSE, KNearestNeighbor.__module__, Softmax.__module__, sep="\\n")
print(cs231n.layers.__name__, optim.__name__, FullyConnectedNet.__module__, sep="\\n")
FullyConnectedNet([3], 4, 2).save("it.npy")
"""
    assert run(code, tmp_path).splitlines() == [
        "student",
        "cs231n.classifiers.k_nearest_neighbor",
        "fastbp.compat.cs231n.classifiers.linear_classifier",
        "fastbp.compat.cs231n.layers",
        "fastbp.compat.cs231n.optim",
        "fastbp.compat.cs231n.classifiers.fc_net",
        "it.npy saved.",
    ]
    assert (tmp_path / "cs231n" / "saved" / "it.npy").is_file()


def test_some_modules_only(tmp_path):
    course(tmp_path)
    code = """
from fastbp.compat.cs231n import install
install("layers", "im2col_cython", edition=2017)
from cs231n import layers, optim, im2col_cython
print(layers.__name__, optim.WHOSE, im2col_cython.__name__)
mask = layers.dropout_forward(layers.np.ones(1000), {"mode": "train", "p": 0.1, "seed": 0})[1][1]
print((mask > 0).mean() > 0.8)
"""
    assert run(code, tmp_path).splitlines() == [
        "fastbp.compat.cs231n.layers student fastbp.compat.cs231n.im2col_cython", "True"]


def test_a_line_at_the_end_of_the_student_s_file_is_enough(tmp_path):
    course(tmp_path)
    path = tmp_path / "cs231n" / "layers.py"
    path.write_text("import numpy as np\ndef affine_forward(x, w, b): pass\n"
                    "def mine(): return affine_forward(np.ones((1, 2)), np.ones((2, 1)), "
                    "np.ones(1))[0]\n"
                    "from fastbp.compat.cs231n.layers import *\n")
    assert run("from cs231n.layers import *\nprint(mine())", tmp_path) == "[[3.]]\n"


def test_unknown_modules_are_refused_before_anything_happens():
    before = dict(sys.modules)
    with pytest.raises(ArgumentError, match=r"module 'rnn_layers'; wanted some of layers"):
        cs231n.install("layers", "rnn_layers")
    assert dict(sys.modules) == before
