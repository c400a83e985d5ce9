"""Check 13: every operation, every argument, every kind of memory: the same bits, or an error that
says what to do; and nothing that was passed has changed."""

from __future__ import annotations

import numpy as np
import pytest
from conditions import DTYPES, KINDS, ODD_KINDS, OUTPUT_KINDS, Kind, Output, make
from operations import OPERATIONS, Operation, bits, copies

from fastbp import FastbpError

SIZE = (17, 33, 9)
IMAGES = [op for op in OPERATIONS if op.out in ("x", "dy")]


def content(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_each_argument_in_each_kind_of_memory(op, dtype, rng):
    args = op.make(rng, SIZE, dtype)
    expected, seen = bits(op.run(**copies(args))), 0
    for name, array in args.items():
        for kind in (*KINDS, *ODD_KINDS):
            if name in op.changed and not kind.writeable:
                with pytest.raises(FastbpError, match="read-only"):
                    op.run(**{**copies(args), name: make(array, kind)})
                continue
            given = {**copies(args), name: make(array, kind)}
            assert bits(op.run(**given)) == expected, f"{op}: {name} {kind}"
            for other, value in given.items():
                assert other in op.changed or content(value) == content(
                    args[other].astype(value.dtype)), f"{op} has changed {other}"
            seen += 1
    assert seen >= len(KINDS)


@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_lists_memory_maps_and_subclasses(op, rng, tmp_path):
    """Lists of float64; arrays on disk, read-only; anything with `__array__`."""
    args = op.make(rng, SIZE, np.float64)
    expected = bits(op.run(**copies(args)))
    for name, array in args.items():
        if name in op.changed:
            continue
        np.save(tmp_path / f"{name}.npy", array)
        disk = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        for other in (array.tolist(), disk, _Wrapped(array)):
            assert bits(op.run(**{**copies(args), name: other})) == expected, f"{op} {name}"


class _Wrapped:
    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self._array, dtype)


@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_arguments_that_share_memory(op, rng):
    """Every pair of arguments of one shape may be one array, or overlap in part."""
    args = op.make(rng, SIZE, np.float64)
    names = [n for n, a in args.items() if n not in op.changed and a.dtype.kind == "f"]
    for one in names:
        for two in names:
            rows, other = args[one].shape, args[two].shape
            if one < two and rows == other:
                shared = rng.random((rows[0] + 1, *rows[1:]))
                if "target" in (one, two):
                    shared = np.abs(shared)
                given = {**copies(args), one: shared[:-1], two: shared[1:]}
                apart = copies(given)
                before = shared.tobytes()
                assert bits(op.run(**given)) == bits(op.run(**apart)), f"{op}: {one} over {two}"
                assert shared.tobytes() == before


@pytest.mark.parametrize("op", IMAGES, ids=str)
@pytest.mark.parametrize("kind", OUTPUT_KINDS, ids=str)
def test_results_in_each_kind_of_memory(op, kind: Kind, rng):
    args = op.make(rng, SIZE, np.float32)
    expected = bits(op.run(**copies(args)))
    out = Output(args[op.out].shape, np.float32, kind)
    results = op.run(**copies(args), out=out.array)
    assert bits(results) == expected
    assert any(result is out.array for result in results)
    out.assert_only_array_written()


@pytest.mark.parametrize("op", IMAGES, ids=str)
def test_results_over_arguments(op, rng):
    """`out` is the argument itself, or one row further: right bits or an error before any work."""
    args = op.make(rng, SIZE, np.float32)
    expected = bits(op.run(**copies(args)))
    for shift in (0, 1):
        given = copies(args)
        block = np.zeros((SIZE[0] + 1, SIZE[1]), np.float32)
        block[:-1] = given[op.out]
        given[op.out] = block[:-1]
        before = block.tobytes()
        try:
            results = op.run(**given, out=block[shift : SIZE[0] + shift])
        except FastbpError:
            assert block.tobytes() == before
        else:
            assert bits(results) == expected, f"{op}: out {shift} rows further"


@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_nothing_one_and_no_depth(op: Operation, rng):
    """Sizes with zeros: empty results and sums that are 0, or an error; never a crash."""
    for size in ((0, 5, 4), (4, 0, 3), (1, 1, 1), (3, 4, 0), (0, 0, 0), (1, 5, 0)):
        for dtype in DTYPES:
            try:
                args = op.make(rng, size, dtype)
                results = op.run(**copies(args))
            except FastbpError:
                if 0 not in size:
                    raise
                continue
            assert 0 not in size[:2] or max(size[:2]) == 0 or all(
                not np.any(np.asarray(result)) for result in results), f"{op} {size}"


@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_wrong_types_and_shapes_are_refused_and_change_nothing(op, rng):
    """float16, integers, complex, wider and mixed dtypes; one row and one column too many."""
    args = op.make(rng, SIZE, np.float32)
    for name, array in args.items():
        if array.dtype.kind != "f":
            wrong = [array.astype(float), array.astype(complex), array[:-1], array[None]]
        else:
            wrong = [array.astype(kind) for kind in (np.float16, np.int32, complex, np.longdouble)]
            if len(args) > 1:
                wrong.append(np.resize(array, [n + 1 for n in array.shape]))
            if sum(other.dtype.kind == "f" for other in args.values()) > 1:
                wrong.append(array.astype(np.float64))
        for value in wrong:
            given = {**copies(args), name: value}
            before = {n: content(v) for n, v in given.items()}
            with pytest.raises(FastbpError):
                op.run(**given)
            assert before == {n: content(v) for n, v in given.items()}, f"{op} {name}"
