"""What the folders promise: who may import whom, where compiled code lives, how long files are."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import reference

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastbp"
FILES = sorted(PACKAGE.rglob("*.py"))

# docs/design/001-architecture.md; `fastbp` itself is the level of the public names.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("_errors", "_folders", "_jit", "_lazy", "_placement", "_runtime", "_tuning", "_typing",
     "_version"),
    ("_arena", "_simd"),
    ("_cache", "_compiler", "_native"),
    ("kernels",),
    ("_memory", "_pool", "_program", "emit", "ops"),
    ("checkpoint", "datasets", "history", "initializers", "layers", "losses", "optim", "plots",
     "schedules"),
    ("_home", "_turn", "batches", "graph", "network", "planner", "sections", "strands", "wiring"),
    ("_chunks", "_gradcheck", "_interrupts", "callbacks", "data", "diagnosis", "feeds", "fitting",
     "reading", "samples", "targets", "trainer", "training_plan", "training_state"),
    ("fastbp",),
    ("compat", "sklearn"),
    ("benchmark",),
    ("__main__", "cli"),
)  # fmt: skip
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}

# Imports inside functions that reach up, each with its reason.
DEFERRED_UP = {
    ("_jit", "_compiler"): "Numba is imported only to compile",
    ("_runtime", "_cache"): "show_versions tells where compiled code is kept",
    ("_runtime", "_simd"): "show_versions tells the vector width",
}
COMPILED = ("_simd", "kernels")
NUMBA = ("_compiler", "_simd")
LLVM = ("_cache", "_compiler", "_native", "_simd")
JITS = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc", "prange"}

MOST_LINES, MEDIAN_LINES = 400, 150
MOST_FUNCTION_LINES = 60
# A branch for each instruction: a table in the form of code.
TABLES = {"fastbp.kernels.tasks.run_task"}

# Twins of operations whose name is not the twin's own.
TWINS = {
    "affine_relu_forward": "affine_forward",
    "affine_relu_backward": "affine_backward",
    "sgd_step": "sgd",
    "momentum_step": "momentum",
    "nesterov_step": "nesterov",
    "adagrad_step": "adagrad",
    "rmsprop_step": "rmsprop",
    "adam_step": "adam",
    "adamw_step": "adam",
}
# Control, the sum of what the tasks of other kernels leave, and what NumPy has itself; files named
# _... serve the others.
NO_ARITHMETIC = {"calls", "program", "reduce", "shuffle", "tasks"}
KERNEL_TWINS = {
    "activations": "ACTIVATIONS",
    "affine": "affine_forward",
    "batchnorm": "batchnorm_forward",
    "conv": "conv2d_forward",
    "conv_weights": "conv2d_backward",
    "dropout": "dropout_forward",
    "gemm": "matmul",
    "gemv": "matmul",
    "largest": "largest",
    "layernorm": "layernorm_forward",
    "losses": "mean_squared_error",
    "planes": "groupnorm_forward",
    "pool": "max_pool2d_forward",
    "softmax": "softmax_cross_entropy",
    "sparse": "affine_forward",
    "update": "adam",
}


def module_of(path: Path) -> str:
    """The dotted name of a file, without `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The file or folder directly under fastbp that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whether inside a function) of every import; TYPE_CHECKING blocks aside."""
    package = module_of(path) if path.stem == "__init__" else module_of(path).rpartition(".")[0]

    def walk(node: ast.AST, deferred: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield (inner if is_module(inner) else module), deferred
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        inside = deferred or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(tree_of(path), False)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return name.startswith("fastbp") and (path.is_dir() or path.with_suffix(".py").is_file())


def own_imports(path: Path) -> Iterator[tuple[str, bool]]:
    return ((name, late) for name, late in imports(path) if name.split(".")[0] == "fastbp")


def test_every_file_has_a_level():
    unknown = {part_of(module_of(path)) for path in FILES} - set(LEVEL)
    assert not unknown, "add to LEVELS, and to the table of 001-architecture.md"


def test_imports_go_down():
    wrong = []
    for path in FILES:
        here = part_of(module_of(path))
        for name, deferred in own_imports(path):
            there = part_of(name)
            if LEVEL[there] > LEVEL[here] and not (deferred and (here, there) in DEFERRED_UP):
                wrong.append(f"{module_of(path)} imports {name}, which is above it")
    assert not wrong


def test_no_import_cycles():
    graph = {
        module_of(path): {name for name, late in own_imports(path) if not late} for path in FILES
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in graph.get(name, ()):
                # `from package import part` in a package's own file leads back to that file.
                if not name.startswith(f"{other}."):
                    visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done >= set(graph)


def test_compiled_code_stays_in_its_folders():
    wrong = []
    for path in FILES:
        here, name = part_of(module_of(path)), module_of(path)
        modules = [module for module, _ in imports(path)]
        if here not in COMPILED and here != "_jit" and decorators(path) & {"kernel", "entry"}:
            wrong.append(f"{name}: kernels live in {COMPILED}")
        if here not in LLVM and any(module.startswith("llvmlite") for module in modules):
            wrong.append(f"{name}: llvmlite is for {LLVM}")
        if here not in NUMBA and any(module.startswith("numba") for module in modules):
            wrong.append(f"{name}: Numba is for {NUMBA}")
        # A benchmark says `jax.jit`.
        if here not in ("_compiler", "benchmark") and names_used(path) & JITS:
            wrong.append(f"{name}: compile through fastbp._jit")
    assert not wrong


def names_used(path: Path) -> set[str]:
    nodes = list(ast.walk(tree_of(path)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def decorators(path: Path) -> set[str]:
    """Names of all decorators in a file."""
    return {
        decorator_name(decorator)
        for node in ast.walk(tree_of(path))
        for decorator in getattr(node, "decorator_list", ())
    }


def decorator_name(decorator: ast.expr) -> str:
    inner = decorator.func if isinstance(decorator, ast.Call) else decorator
    return str(getattr(inner, "id", getattr(inner, "attr", "")))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_kernels_neither_raise_nor_assert():
    seen, wrong = 0, []
    for path in FILES:
        for function in functions(path):
            if {decorator_name(d) for d in function.decorator_list} & {"kernel", "entry"}:
                seen += 1
                wrong += [
                    f"{module_of(path)}.{function.name}, line {node.lineno}"
                    for node in ast.walk(function)
                    if isinstance(node, (ast.Raise, ast.Assert, ast.Try, ast.With))
                ]
    assert seen > 20
    assert not wrong


def test_files_and_functions_are_short():
    lengths = {module_of(path): path.read_text(encoding="utf-8").count("\n") for path in FILES} | {
        f"{module_of(path)}.{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in FILES
        for function in functions(path)
        if f"{module_of(path)}.{function.name}" not in TABLES
    }
    modules = {module_of(path) for path in FILES}
    wrong = {
        name: length
        for name, length in lengths.items()
        if length > (MOST_LINES if name in modules else MOST_FUNCTION_LINES)
    }
    assert not wrong
    assert statistics.median(lengths[name] for name in modules) <= MEDIAN_LINES


def test_test_files_are_short():
    lengths = {path: path.read_text(encoding="utf-8").count("\n")
               for path in (ROOT / "tests").rglob("*.py")}
    assert len(lengths) > 100
    assert not {str(path): length for path, length in lengths.items() if length > MOST_LINES}


def test_every_operation_has_a_twin():
    from fastbp import ops

    missing = [name for name in ops.__all__ if TWINS.get(name, name) not in reference.__all__]
    assert len(ops.__all__) > 20
    assert not missing, f"no float64 twin in tests/reference: {missing}"


def test_every_kernel_file_has_a_twin():
    kernels = {path.stem for path in (PACKAGE / "kernels").glob("[!_]*.py")} - NO_ARITHMETIC
    assert kernels <= set(KERNEL_TWINS), f"name its twin: {kernels - set(KERNEL_TWINS)}"
    assert all(KERNEL_TWINS[name] in reference.__all__ for name in kernels)


def run(code: str) -> str:
    """What a fresh process prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            timeout=300, check=False, cwd=ROOT)  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


HEAVY = ("scipy", "matplotlib", "safetensors", "sklearn", "tqdm", "pandas", "numba")


def test_import_is_light():
    code = f"import sys, fastbp; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code).strip() == "[]"


def test_a_warm_first_step_imports_neither_numba_nor_scipy():
    code = f"""
import sys, numpy as np, fastbp
net = fastbp.Sequential([fastbp.Affine(4, 3)], seed=0)
trainer = fastbp.Trainer(net, loss="softmax_cross_entropy", optimizer=fastbp.SGD(0.1))
loss = trainer.train_step(np.ones((2, 4), np.float32), np.array([0, 1]))
print([m for m in {HEAVY} if m in sys.modules], np.isfinite(loss))
"""
    run(code)  # so that the kernels are in the cache
    assert run(code).strip() == "[] True"


def test_public_names_exist_and_are_documented():
    import fastbp

    for name in fastbp.__all__:
        value = getattr(fastbp, name)
        assert not callable(value) or (value.__doc__ or "").strip(), f"fastbp.{name}: no docstring"
