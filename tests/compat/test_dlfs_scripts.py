"""Scripts in the book's style, run unchanged against plain NumPy and against fastbp.

Same seeds, so the same weights, batches and masks: losses of some hundred steps in float64 agree
within 1e-8 (rounding, 1e-16 a step, grows with the steps).
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp._errors import ArgumentError
from fastbp.compat import dlfs
from fastbp.compat.dlfs.multi_layer_net_extend import MultiLayerNetExtend
from fastbp.compat.dlfs.optimizer import Adam
from fastbp.compat.dlfs.trainer import Trainer

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"


def run(script, folder, monkeypatch):
    """The script's variables, with `common` from that folder."""
    for name in [name for name in sys.modules if name.split(".")[0] == "common"]:
        monkeypatch.delitem(sys.modules, name)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        found = runpy.run_path(str(SCRIPTS / script))
    for name in [name for name in sys.modules if name.split(".")[0] == "common"]:
        del sys.modules[name]
    return found


def both(script, monkeypatch):
    mine = run(script, dlfs.path(), monkeypatch)
    theirs = run(script, HERE / "numpy_common", monkeypatch)
    np.testing.assert_allclose(mine["train_loss_list"], theirs["train_loss_list"], rtol=1e-8)
    np.testing.assert_array_equal(mine.get("train_acc_list", []), theirs.get("train_acc_list", []))
    return mine, theirs


def test_two_layers_trained_by_hand(monkeypatch):
    mine, theirs = both("dlfs_two_layer.py", monkeypatch)
    assert mine["Affine"].__module__.startswith("fastbp.compat.dlfs")
    assert theirs["Affine"].__module__ == "fastbp.benchmark._peers._numpy_dlfs"
    # The book prints 1.39e-7 for the last bias: the loss adds 1e-7 inside the logarithm.
    assert max(mine["gradient_errors"].values()) < 1e-6
    assert mine["train_loss_list"][-1] < mine["train_loss_list"][0]


def test_optimizers_of_numbers_and_networks(monkeypatch):
    mine, theirs = both("dlfs_optimizers.py", monkeypatch)
    for name in theirs["paths"]:
        np.testing.assert_allclose(mine["paths"][name], theirs["paths"][name], rtol=1e-12)


def test_regularized_networks_and_the_trainer(monkeypatch):
    mine, _ = both("dlfs_regularized.py", monkeypatch)
    assert len(mine["train_loss_list"]) == 3 * 40
    assert len(mine["train_acc_list"]) == 3 * 20


def test_a_convolutional_network(monkeypatch):
    mine, _ = both("dlfs_convolution.py", monkeypatch)
    # The last bias sees the 1e-7 inside the logarithm: 1.4e-7 in the book.
    assert max(mine["gradient_errors"].values()) < 1e-6


def test_a_deep_convolutional_network(monkeypatch):
    mine, _ = both("dlfs_deep_convolution.py", monkeypatch)
    assert len(mine["train_loss_list"]) == 30


def test_install_replaces_the_books_modules(tmp_path):
    code = """
from fastbp.compat import dlfs
print(*dlfs.install())
import common.trainer
from common.layers import Affine
print(Affine.__module__, common.trainer.__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])})  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, found = done.stdout.splitlines()
    assert sorted(names.split()) == [f"common.{name}" for name in dlfs.MODULES]
    assert found == "fastbp.compat.dlfs._layers fastbp.compat.dlfs.trainer"


def test_the_same_bits_for_every_number_of_threads():
    results = []
    for count in (1, 2, 3):
        np.random.seed(6)  # noqa: NPY002
        with fastbp.threads(count, oversubscribe=True):
            network = MultiLayerNetExtend(120, [90, 80], 10, use_batchnorm=True)
            x, t = np.random.rand(150, 120).astype(np.float32), np.arange(150) % 10  # noqa: NPY002
            rule = Adam()
            for _ in range(3):
                rule.update(network.params, network.gradient(x, t))
            results.append([network.loss(x, t), *network.params.values()])
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


class Still:
    """A network that does not learn."""

    params: dict = {}  # noqa: RUF012

    def gradient(self, x, t):
        return {}

    def loss(self, x, t):
        return np.float32(2.3)

    def accuracy(self, x, t):
        return np.float64(len(x) / 4)


def test_what_the_trainer_says(capsys):
    x, t = np.zeros((4, 1)), np.zeros(4, int)
    trainer = Trainer(Still(), x, t, x[:2], t[:2], epochs=1, mini_batch_size=3)
    trainer.train()
    assert capsys.readouterr().out.splitlines() == [
        "train loss:2.3", "=== epoch:1, train acc:1.0, test acc:0.5 ===",
        "=============== Final Test Accuracy ===============", "test acc:0.5"]  # fmt: skip
    assert (trainer.iter_per_epoch, trainer.max_iter, trainer.current_iter) == (4 / 3, 1, 1)
    assert trainer.optimizer.lr == 0.01
    with pytest.raises(ArgumentError, match="Trainer: optimizer='sdg'; wanted one of sgd, m"):
        Trainer(Still(), x, t, x, t, optimizer="sdg")


CHAPTER = """
import sys, os
sys.path.append(os.pardir)
from common.layers import *
import common.functions, common.own
from common.optimizer import *
import common.trainer
print(Affine.__module__, common.functions.__name__, common.own.__file__, common.own.SGD.__module__)
print(common.layers is sys.modules["common.layers"], np.__name__, common.trainer.Trainer.__module__)
"""


def test_the_rest_of_the_users_common_resolves(tmp_path):
    common, chapter = tmp_path / "common", tmp_path / "ch05"
    common.mkdir()
    chapter.mkdir()
    (common / "__init__.py").write_text("")
    (common / "layers.py").write_text("raise SystemExit('the own layers')")
    (common / "own.py").write_text("from common.optimizer import *")
    (chapter / "train.py").write_text(CHAPTER)
    path = os.pathsep.join([dlfs.path(), str(HERE.parents[1])])
    done = subprocess.run([sys.executable, "train.py"], cwd=chapter, capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, flags = done.stdout.splitlines()
    layer, functions, own, rule = names.split()
    assert layer.startswith("fastbp.compat.dlfs.")
    assert functions == "fastbp.compat.dlfs.functions"
    assert Path(own).name == "own.py"
    assert rule == "fastbp.compat.dlfs.optimizer"
    assert flags == "True numpy fastbp.compat.dlfs.trainer"


STAR = {
    "layers": "np Relu Sigmoid Affine SoftmaxWithLoss Dropout BatchNormalization Convolution "
    "Pooling sigmoid softmax cross_entropy_error im2col col2im identity_function relu_grad "
    "step_function sum_squared_error",
    "functions": "np sigmoid softmax_loss",
    "gradient": "np numerical_gradient numerical_gradient_2d",
    "util": "np smooth_curve shuffle_dataset conv_output_size im2col col2im",
    "optimizer": "np SGD Momentum Nesterov AdaGrad RMSprop Adam",
    "multi_layer_net": "np OrderedDict os sys MultiLayerNet Affine numerical_gradient",
    "multi_layer_net_extend": "np OrderedDict os sys MultiLayerNetExtend Dropout softmax",
    "trainer": "np os sys Trainer SGD Adam",
}


@pytest.mark.parametrize("module", dlfs.MODULES)
def test_star_imports_bring_the_books_names(module):
    names = {}
    exec(f"from fastbp.compat.dlfs.{module} import *", names)
    assert set(STAR[module].split()) <= names.keys()
    assert names["np"] is np


def test_the_example_of_the_documentation():
    text = (HERE.parents[1] / "docs" / "compat-dlfs.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, {})
    listed = set(re.findall(r"`(\w+)`", text.partition("| names |")[2].partition("Networks")[0]))
    names = {name for module in dlfs.MODULES for name in STAR[module].split()}
    assert {name for name in names if name[0].isupper()} - listed == {"OrderedDict"}
