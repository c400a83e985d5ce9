"""What the start of a process imports: public names are there when asked for, and not before."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAZY = ("fastbp", "fastbp.callbacks", "fastbp.data", "fastbp.layers", "fastbp.ops",
        "fastbp.schedules")  # fmt: skip

FIRST_STEP = """
import json, sys
import numpy as np, fastbp
from fastbp import Affine, ReLU, Sequential, Trainer
net = Sequential([Affine(4, 8), ReLU(), Affine(8, 3)], seed=0)
trainer = Trainer(net, loss="softmax_cross_entropy", optimizer=fastbp.Adam(1e-3))
trainer.train_step(np.ones((2, 4), np.float32), np.array([0, 1]))
"""
# What a first step of a plain network has no use for; a folder stands for all that is in it.
NOT_LOADED = (
    "_compiler", "_gradcheck", "benchmark", "checkpoint", "cli", "compat", "data", "datasets",
    "callbacks._checkpoint", "callbacks._lock", "callbacks._logging", "callbacks._progress",
    "callbacks._signals", "callbacks._stopping", "callbacks._tensorboard",
    "emit._window", "emit.batchnorm", "emit.conv", "emit.dropout", "emit.layernorm",
    "emit.planes", "emit.pool",
    "layers.conv", "layers.dropout", "layers.images", "layers.norm", "layers.pool",
    "ops._images", "ops._norm", "ops.affine", "ops.batchnorm", "ops.conv", "ops.dropout",
    "ops.layernorm",
    "ops.losses", "ops.planes", "ops.pool", "ops.product", "ops.update",
    "plots", "reading", "schedules._curves", "schedules._names", "schedules._plateau", "sklearn",
    "training_state",
)  # fmt: skip
# Parts of the standard library that neither NumPy nor llvmlite needs.
STANDARD = ("asyncio", "concurrent", "csv", "email", "html", "http", "json", "logging",
            "multiprocessing", "pickletools", "socket", "sqlite3", "ssl", "subprocess", "unittest",
            "urllib.request", "xml")  # fmt: skip
MOST_MODULES = 99


def run(code: str) -> str:
    """What a fresh process prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            timeout=300, check=False, cwd=ROOT)  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def within(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def test_a_first_step_loads_what_it_needs():
    first = FIRST_STEP.replace("import json, sys", "import sys")
    run(first)  # so that the kernels are in the cache
    loaded = run(f"{first}\nprint(*sys.modules)").split()
    own = [name for name in loaded if within(name, "fastbp")]
    assert "fastbp.planner" in own
    unwanted = [f"fastbp.{part}" for part in NOT_LOADED] + list(STANDARD)
    assert [m for m in loaded if any(within(m, part) for part in unwanted)] == []
    assert len(own) <= MOST_MODULES


def test_importing_the_package_loads_none_of_it():
    loaded = run("import sys, fastbp; print(*sys.modules)").split()
    assert {m for m in loaded if within(m, "fastbp")} == {"fastbp", "fastbp._lazy",
                                                          "fastbp._version"}  # fmt: skip
    assert "numpy" not in loaded


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_and_programs_find_the_same_names(package):
    """The imports that only type checkers see, the table of `lazily`, and __all__ agree."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    assert branch.test.id == "TYPE_CHECKING"
    seen = {
        alias.name: f"{node.module}.{alias.name}" if node.module == package else node.module
        for node in branch.body
        for alias in node.names
    }
    table = ast.literal_eval(branch.orelse[0].value.args[1])
    listed = {
        name: f"{package}.{part}"
        for part, names in table.items()
        for name in names.split()
    }
    assert seen == listed
    assert set(module.__all__) - {"__version__"} == set(listed)
    assert set(module.__all__) <= set(dir(module))
    modules = {path.stem for path in Path(module.__file__).parent.glob("*.py")}
    assert {name for name, home in listed.items() if home != f"{package}.{name}"} & modules == set()


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_can_be_asked_for(package):
    code = f"""
import json, {package} as package
first = {{name: id(getattr(package, name)) for name in package.__all__}}
space = {{}}
exec("from {package} import *", space)
print(json.dumps(all(id(space[name]) == first[name] for name in package.__all__)),
      hasattr(package, "nonsense"))
"""
    same, nonsense = run(code).split()
    assert json.loads(same)
    assert nonsense == "False"


def test_a_name_that_is_not_there():
    import fastbp

    with pytest.raises(AttributeError, match=r"module 'fastbp' has no attribute 'Afine'"):
        _ = fastbp.Afine
    with pytest.raises(ImportError, match=r"cannot import name 'Afine' from 'fastbp'"):
        from fastbp import Afine  # noqa: F401
