"""`fastbp run` and `fastbp compat-path`: scripts stay untouched, Python's behaviour too."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastbp
from fastbp.cli import main
from fastbp.compat import _install

SCRIPTS = Path(__file__).parent / "scripts"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}

# A stand-in for the modules of an interface, put before fastbp's own (argv[1]: where).
WITH_FAKES = """
import sys, fastbp.compat
fastbp.compat.__path__.insert(0, sys.argv.pop(1))
from fastbp.cli import main
sys.exit(main(sys.argv[1:]))
"""


def python(*argv, **more):
    return subprocess.run([sys.executable, *map(str, argv)], text=True, capture_output=True,
                          timeout=300, check=False, env=ENVIRONMENT, **more)


def run(*argv, **more):
    return python("-m", "fastbp", "run", *argv, **more)


def write(folder, files):
    """Python files by their names without ending."""
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def fakes(tmp_path):
    """Interfaces with the names of the real ones, which say who they are."""
    others = ("gradient", "util", "optimizer", "multi_layer_net", "multi_layer_net_extend",
              "trainer")
    return write(tmp_path / "fakes", {
        "dlfs/__init__": "def path(): return '/the/folder'",
        "dlfs/layers": """
import numpy as np
from fastbp.compat.dlfs.functions import relu
class Base:
    def forward(self, x): return relu(x)
class Affine(Base):
    @staticmethod
    def rate(): return 2
class Wide(Affine):
    def backward(self, x): return self.forward(x)
""",
        "dlfs/functions": "def relu(x): return max(x, 0)",
        **{f"dlfs/{name}": "" for name in others},
        "nielsen/__init__": "", "nielsen/network2": "who = 'fast'",
        "nielsen/network": "who = 'fast'\nclass Network:\n    def SGD(self, f): return f(self)",
        "miniflow": "def sort(x): return sorted(x)"})


# ---- the script as Python would run it -----------------------------------------------------------


def test_the_demo_is_the_same_as_in_plain_python(tmp_path):
    """Losses of the untouched script, to 1e-12, beside the twin under micrograd's names."""
    twin = "from fastbp.benchmark._peers.compat_micrograd import"
    write(tmp_path, {"micrograd/__init__": "", "micrograd/engine": f"{twin} Plain as Value",
                     "micrograd/nn": f"{twin} PlainMLP as MLP"})
    script = tmp_path / "micrograd_moons.py"
    script.write_text((SCRIPTS / "micrograd_moons.py").read_text())
    plain = python(script, "4", "10")
    fast = run("--compat", "micrograd", script, "4", "10")
    assert (plain.returncode, fast.returncode) == (0, 0), fast.stderr
    pattern = r"loss (\S+), (accuracy \S+)"
    ours, theirs = (re.findall(pattern, result.stdout) for result in (fast, plain))
    assert len(ours) == 4
    for (loss, accuracy), (other_loss, other_accuracy) in zip(ours, theirs, strict=True):
        assert float(loss) == pytest.approx(float(other_loss), rel=1e-12)
        assert accuracy == other_accuracy
    assert fast.stderr.splitlines()[:4] == [
        "fastbp ran in place of micrograd:", "  calls  function",
        "     40  micrograd.engine.Value.relu", "     40  micrograd.nn.MLP"]  # fmt: skip


def test_what_a_script_sees(tmp_path):
    """__main__, argv, path, file and the exit status are those of `python script.py`."""
    script = write(tmp_path / "deep", {"beside": "where = 'beside the script'", "script": """
import pickle, sys
import beside
class Own: pass
print(__name__, __file__, sys.argv, beside.where, __doc__, __spec__, __package__)
print(sys.modules["__main__"].Own is Own, type(pickle.loads(pickle.dumps(Own()))) is Own)
print(sys.path[0], "annotations" in globals())
import micrograd.nn
print(micrograd.nn.MLP.__module__, micrograd.nn.__name__, micrograd.nn.__spec__.name)
print(type(micrograd.nn.MLP(2, [2, 1])([1.0, 2.0])).__name__)
sys.exit(7)
"""}) / "script.py"
    arguments = [str(script), "--compat", "x", "-v", "--no-summary"]
    result = run("--compat", "micrograd", *arguments, cwd=tmp_path)
    assert result.returncode == 7, result.stderr
    assert result.stdout.splitlines() == [
        f"__main__ {script} {arguments} beside the script None None None",
        "True True", f"{script.parent} False",
        "fastbp.compat.micrograd.nn fastbp.compat.micrograd.nn fastbp.compat.micrograd.nn",
        "Output"]  # of a batch, counted or not
    assert result.stderr.splitlines() == [
        "fastbp ran in place of micrograd:", "  calls  function", "      1  micrograd.nn.MLP"]


@pytest.mark.parametrize(("body", "status"), [
    ("import sys; sys.exit()", 0), ("import sys; sys.exit('no')", 1), ("raise SystemExit(3)", 3),
    ("1 / 0", 1), ("def f(", 1), ("raise KeyboardInterrupt", 130), ("import nowhere", 1),
    ("try:\n    int('x')\nexcept ValueError as e:\n    raise KeyError(1) from e", 1),
    ("print('written')\nfrom micrograd.engine import Value\nValue(1) ** 'x'", 1),
    ("import sys\nsys.excepthook = lambda *a: print('hooked', a[0])\n1 / 0", 1),
])  # fmt: skip
def test_endings(tmp_path, body, status):
    """The same output, traceback and exit status as from Python itself."""
    write(tmp_path, {"script": body,
                     "micrograd/engine": "from fastbp.compat.micrograd.engine import *"})
    ours = run("--compat", "micrograd", "--no-summary", tmp_path / "script.py")
    theirs = python(tmp_path / "script.py")
    assert ours.returncode == status
    assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr)
    # Ctrl-C ends Python itself by the signal, which shells report as 130.
    assert theirs.returncode == (-2 if status == 130 else status)


def test_tracebacks_do_not_show_the_counting(tmp_path):
    write(tmp_path, {"script": "from micrograd.engine import Value\nValue('x').relu()"})
    result = run("--compat", "micrograd", tmp_path / "script.py")
    assert re.findall(r"line \d+, in (\w+|<module>)", result.stderr) == ["<module>", "relu"]
    assert result.stderr.endswith("TypeError: '>' not supported between instances of 'int' and "
                                  "'str'\nfastbp ran in place of micrograd:\n  calls  function\n"
                                  "      1  micrograd.engine.Value.relu\n")  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), [
    (["--compat", "nothing", "x.py"], "invalid choice: 'nothing'"), (["x.py"], "--compat"),
    (["--compat", "micrograd", "nowhere.py"],
     r"nowhere\.py: no such file; wanted a Python script or a notebook \(\.ipynb\)"),
    (["--compat", "micrograd", "."], r"\.: no such file"),
])  # fmt: skip
def test_misuse(capsys, arguments, message):
    try:
        status = main(["run", *arguments])
    except SystemExit as ending:
        status = ending.code
    assert status == 2
    assert re.search(message, capsys.readouterr().err)


# ---- what is replaced ----------------------------------------------------------------------------


def test_the_rest_of_a_package_is_the_users(tmp_path, fakes):
    """`common` beside `ch05`, as the book has it; its other modules see fastbp's too."""
    write(tmp_path / "book", {
        "common/__init__": "mine = True", "common/layers": "who = 'slow'",
        "common/extra": "from .layers import Affine\nwho = 'user'", "ch05/train": """
import sys, os
sys.path.append(os.path.join(os.path.dirname(__file__), os.pardir))
from common.layers import *
import common.functions
from common import extra
print(common.mine, extra.who, extra.Affine is Affine, np.ones(1), common.functions.relu(-3))
w = Wide()
print(w.forward(2) + w.backward(1) + Affine().forward(3) + Affine.rate())
"""})
    result = python("-c", WITH_FAKES, fakes, "run", "--compat", "dlfs",
                    tmp_path / "book/ch05/train.py")
    assert result.stdout.splitlines() == ["True user True [1.] 0", "8"], result.stderr
    # What the modules call among themselves is not counted.
    assert result.stderr.splitlines() == [
        "fastbp ran in place of dlfs:", "  calls  function",
        "      1  common.functions.relu", "      1  common.layers.Affine.forward",
        "      1  common.layers.Affine.rate", "      1  common.layers.Wide.backward",
        "      1  common.layers.Wide.forward"]  # fmt: skip


def test_modules_beside_the_script(tmp_path, fakes):
    """network and network2 are replaced, mnist_loader next to them is not; callbacks count."""
    write(tmp_path, {"network": "who = 'slow'", "mnist_loader": "import network\nwho = network.who",
                     "script": """
import mnist_loader, network2
from network import Network
class Own(Network): pass
print(mnist_loader.who, network2.who, Network().SGD(lambda n: Own().SGD(lambda m: 5)))
"""})
    result = python("-c", WITH_FAKES, fakes, "run", "--compat", "nielsen", tmp_path / "script.py")
    assert result.stdout == "fast fast 5\n", result.stderr
    assert result.stderr.splitlines()[2:] == ["      2  network.Network.SGD"]


def test_without_the_original(tmp_path, fakes):
    """Scripts run where the package that they import has never been."""
    write(tmp_path, {"script": """
import miniflow
from miniflow import sort
print(sort([2, 1]))
try:
    import miniflow.more
except ImportError as error:
    print(error)
"""})
    result = python("-c", WITH_FAKES, fakes, "run", "--compat", "miniflow", "--no-summary",
                    tmp_path / "script.py")
    assert result.stdout.splitlines()[0] == "[1, 2]", result.stderr
    assert (len(result.stdout.splitlines()), result.stderr) == (2, "")
    write(tmp_path, {"script": "import miniflow"})
    result = python("-c", WITH_FAKES, fakes, "run", "--compat", "miniflow", tmp_path / "script.py")
    assert result.stderr == "fastbp: the script called nothing of miniflow's modules\n"


@pytest.mark.parametrize("interface", _install.REPLACED)
def test_every_replacement_exists(interface):
    """Of the interfaces that are there."""
    modules = _install.REPLACED[interface]
    package = next(iter(modules.values())).split(".")[2]
    if find_spec(f"fastbp.compat.{package}") is None:
        pytest.skip("not part of this version")
    assert [name for name in modules.values() if find_spec(name) is None] == []


@pytest.mark.parametrize("interface", _install.REPLACED)
def test_every_interface_can_be_installed_by_itself(interface):
    """In a process of its own: the import system stays changed."""
    code = (f"from fastbp.compat.{interface} import install; install(); import sys; "
            f"names = {list(_install.REPLACED[interface])}; import importlib\n"
            "print(all(importlib.import_module(n).__name__.startswith('fastbp') for n in names))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_install(tmp_path):
    """Inside a notebook: also after the user's own module has been imported, and twice."""
    write(tmp_path, {"micrograd/__init__": "", "micrograd/engine": "Value = 'slow'", "script": """
import micrograd.engine
from fastbp.compat.micrograd import install
print(micrograd.engine.Value, install(), install())
import micrograd.engine
import micrograd.nn
print(micrograd.engine.Value.__module__, micrograd.nn.MLP(1, [1]), micrograd.__file__)
import importlib, sys
importlib.reload(micrograd.nn)
print(sum(type(f).__name__ == "_Finder" for f in sys.meta_path))
"""})
    package = tmp_path / "micrograd/__init__.py"
    result = python(tmp_path / "script.py")
    assert result.stdout.splitlines() == [
        "slow ('micrograd.engine', 'micrograd.nn') ('micrograd.engine', 'micrograd.nn')",
        f"fastbp.compat.micrograd.engine MLP of [Layer of [LinearNeuron(1)]] {package}",
        "1"], result.stderr
    with pytest.raises(ValueError, match="compat='x'; wanted one of cs231n, dlfs"):
        _install.install("x")


def test_compat_path(fakes):
    result = python("-c", WITH_FAKES, fakes, "compat-path", "dlfs")
    assert (result.stdout, result.stderr) == ("/the/folder\n", "")


@pytest.mark.parametrize("command", ["run", "compat-path"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as ending:
        main([command, "--help"])
    assert ending.value.code == 0
    out = capsys.readouterr().out
    text = (Path(fastbp.__file__).parents[1] / "docs/cli.md").read_text(encoding="utf-8")
    assert all(option in text for option in re.findall(r"--[a-z-]+", out) if option != "--help")
    assert f"fastbp {command}" in text


# ---- notebooks -----------------------------------------------------------------------------------


def notebook(path, *cells, **more):
    """Write a notebook with these code cells."""
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "1 / 0"]},
        *({"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None,
           "source": cell.splitlines(keepends=True)} for cell in cells)], **more}  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def test_a_notebook(tmp_path):
    (tmp_path / "deep").mkdir()
    path = notebook(
        tmp_path / "deep" / "demo.ipynb",
        "%load_ext autoreload\n%autoreload 2\n%matplotlib inline\nimport os\n!pip install x",
        "from micrograd.engine import Value\nprint(os.path.basename(os.getcwd()), __name__)",
        "%%bash\nexit 1",
        """%%time
for i in range(2):
    %time a = Value(i)
    if i:
        %timeit a + 1
Value?
print('%d and %d'
      % (a.data,
         5))""",
        """text = '''
%kept
!kept'''; b = 7 \\
% 4
print(text.split(), b, os.environ['MPLBACKEND'])""",
        "(a * 2).backward(); print(a.grad)")  # fmt: skip
    result = run("--compat", "micrograd", path, cwd=tmp_path)
    assert result.stdout.splitlines() == [
        "deep __main__", "1 and 5", "['%kept', '!kept'] 3 agg", "2"], result.stderr
    note, *table = result.stderr.splitlines()
    assert note == ("fastbp: skipped what only IPython knows: !pip install x (cell 1), %%bash with "
                    "its cell (cell 3), %timeit a + 1 (cell 4), Value? (cell 4)")
    assert table == ["fastbp ran in place of micrograd:", "  calls  function",
                     "      1  micrograd.engine.Value.backward"]  # fmt: skip


def test_an_error_in_a_cell(tmp_path):
    path = notebook(tmp_path / "demo.ipynb", "x = 1\nprint(x)", "\n# two\ny = x / 0", "print(2)")
    result = run("--compat", "micrograd", "--no-summary", path)
    assert (result.returncode, result.stdout) == (1, "1\n")
    assert result.stderr.splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "<demo.ipynb, code cell 2>", line 3, in <module>', "    y = x / 0"]
    assert "fastbp" not in result.stderr


@pytest.mark.parametrize(("content", "message"), [
    ("x", r"a\.ipynb: Expecting value.*wanted a notebook, which is JSON; save it with a current"),
    ("[]", "no notebook of format 4"), ('{"nbformat": 3}', "no notebook of format 4"),
    ('{"nbformat": 4}', "a cell without type or source"),
    ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "a cell without type or source"),
])  # fmt: skip
def test_what_is_no_notebook(tmp_path, capsys, content, message):
    (tmp_path / "a.ipynb").write_text(content)
    assert main(["run", "--compat", "micrograd", str(tmp_path / "a.ipynb")]) == 2
    assert re.search(message, capsys.readouterr().err)
