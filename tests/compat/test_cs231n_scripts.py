"""Scripts in the style of the course give the same losses on NumPy and on fastbp."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import reference

from fastbp.benchmark._peers import _compat_cs231n, _compat_cs231n_training
from fastbp.compat import cs231n

SCRIPTS = Path(__file__).parent / "scripts"


def numpy_modules() -> dict[str, ModuleType]:
    """The course's modules with the functions of the NumPy twins in them."""
    names = {**vars(_compat_cs231n), **vars(_compat_cs231n_training)}
    conv, relu, pool = (tuple(names[f"{part}_{way}"] for way in ("forward", "backward"))
                        for part in ("conv", "relu", "max_pool"))

    def conv_relu_forward(x, w, b, conv_param):
        a, conv_cache = conv[0](x, w, b, conv_param)
        out, relu_cache = relu[0](a)
        return out, (conv_cache, relu_cache)

    def conv_relu_pool_forward(x, w, b, conv_param, pool_param):
        s, (conv_cache, relu_cache) = conv_relu_forward(x, w, b, conv_param)
        out, pool_cache = pool[0](s, pool_param)
        return out, (conv_cache, relu_cache, pool_cache)

    def conv_relu_pool_backward(dout, cache):
        conv_cache, relu_cache, pool_cache = cache
        return conv[1](relu[1](pool[1](dout, pool_cache), relu_cache), conv_cache)

    names |= {f.__name__: f for f in (conv_relu_forward, conv_relu_pool_forward,
                                      conv_relu_pool_backward)}
    public = {name: value for name, value in names.items() if not name.startswith("_")}
    modules = ["cs231n", "cs231n.classifiers", *(f"cs231n.{name}" for name in cs231n.MODULES)]
    found = {}
    for name in modules:
        found[name] = ModuleType(name)
        vars(found[name]).update(public)
    return found


@pytest.fixture
def no_course(monkeypatch):
    """What is put into sys.modules as cs231n goes away again."""
    for name in list(sys.modules):
        if name.split(".")[0] == "cs231n":
            monkeypatch.delitem(sys.modules, name)
    yield monkeypatch
    for name in list(sys.modules):
        if name.split(".")[0] == "cs231n":
            del sys.modules[name]


@pytest.mark.parametrize("name", ["two_layer", "fully_connected", "conv_net"])
def test_same_losses(name, no_course):
    path = str(SCRIPTS / f"cs231n_{name}.py")
    with no_course.context() as patch:
        for module, value in numpy_modules().items():
            patch.setitem(sys.modules, module, value)
        wanted = runpy.run_path(path)
    cs231n.install()
    found = runpy.run_path(path)
    losses = np.array(found["losses"]), np.array(wanted["losses"])
    assert len(losses[0]) >= 18
    # float64: some 1e-15 a step, and training may amplify it; a wrong gradient shows from 1e-4 on.
    reference.assert_within(*losses, 1e-9 * (1 + np.abs(losses[1])))
    assert losses[0][0] > losses[0][10]
    assert found.get("accuracies") == wanted.get("accuracies")
