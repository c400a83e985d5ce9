"""Built-in functions made of compiled code: references, errors, threads, forks, profilers."""

import ctypes
import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from operations import bits

from fastbp import ops
from fastbp._arena import address_of, flat_view
from fastbp.kernels import calls
from fastbp.ops import _again, _builtin, _lessons, affine, losses, product

pytestmark = pytest.mark.usefixtures("every_call_is_learnt")


def learnt(function, *args, **named):
    """The result of a call that the built-in function has made."""
    for _ in range(4):
        function(*args, **named)
    before = _lessons.hits()
    result = function(*args, **named)
    assert _lessons.hits() > before
    return result


def square(dtype=np.float32, n=6):
    rng = np.random.Generator(np.random.PCG64(3))
    return rng.random((n, n)).astype(dtype), rng.random((n, n)).astype(dtype)


# ---- references and errors ---------------------------------------------------------------------


def cases():
    """Calls that return an array, `out`, a tuple, a tuple with a number, nothing."""
    a, b = square()
    labels, out, w = np.arange(6), np.empty_like(a), a.copy()
    return {
        "array": (lambda: ops.matmul(a, b), (a, b)),
        "out": (lambda: ops.matmul(a, b, out=out), (a, b, out)),
        "tuple": (lambda: ops.affine_backward(a, a, b), (a, b)),
        "number": (lambda: ops.hinge(a, labels), (a, labels)),
        "number and out": (lambda: ops.hinge(a, labels, out=out), (a, labels, out)),
        "object": (lambda: ops.max_pool2d_forward(a[None, None], 2)[0], (a,)),
        "nothing": (lambda: ops.sgd_step(w, b, lr=0.125), (w, b)),
    }


@pytest.mark.parametrize("name", cases())
def test_references_are_as_they_were(name):
    function, arrays = cases()[name]
    watched = (*arrays, a_dtype := arrays[0].dtype, None, True)
    learnt(function)
    # Of objects that no longer count their references (Python 3.12) the number does not change.
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(2000):
        result = function()
    del result
    after = [sys.getrefcount(thing) for thing in watched]
    assert all(abs(new - old) <= 20 for old, new in zip(before, after, strict=True))
    assert sys.getrefcount(a_dtype) > 0


def test_results_belong_to_the_caller_alone():
    a, b = square()
    one, other = learnt(ops.matmul, a, b), np.empty((6, 6), np.float32)
    assert type(one) is np.ndarray
    assert one.flags.owndata
    assert one.flags.writeable
    assert sys.getrefcount(one) == sys.getrefcount(other)
    whole = learnt(ops.affine_backward, a, a, b)
    assert type(whole) is tuple
    like = tuple(np.empty(3) for _ in range(3))
    assert [sys.getrefcount(part) for part in whole] == [sys.getrefcount(part) for part in like]
    assert gc.is_tracked(whole)


def test_memory_does_not_grow():
    resource = pytest.importorskip("resource")
    calls_of_all = [function for function, _ in cases().values()]
    for function in calls_of_all:
        learnt(function)
    sizes = []
    for _ in range(2):
        for function in calls_of_all:
            for _ in range(10_000):
                function()
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert sizes[1] - sizes[0] < 1000  # KB; one object of 16 bytes a call would be 1100


@pytest.mark.parametrize("word", [calls.NEW_ARRAY, calls.NEW_TUPLE, calls.NEW_REAL])
def test_no_memory(word):
    """What cannot be made is a MemoryError, and the next call is as before."""
    a, b = square()
    labels, words = np.arange(6), flat_view(_builtin.table())
    functions = {calls.NEW_ARRAY: lambda: ops.matmul(a, b),
                 calls.NEW_TUPLE: lambda: ops.affine_backward(a, a, b),
                 calls.NEW_REAL: lambda: ops.hinge(a, labels)}
    function = functions[word]
    expected, before = bits(learnt(function)), words[word]
    # It returns NULL with the exception set, whatever it is given.
    words[word] = ctypes.cast(ctypes.pythonapi.PyErr_NoMemory, ctypes.c_void_p).value
    try:
        for _ in range(100):
            with pytest.raises(MemoryError):
                function()
    finally:
        words[word] = before
    assert bits(learnt(function)) == expected


# ---- what happens around a call ----------------------------------------------------------------


def test_a_collection_in_the_middle_makes_the_same_call():
    """A new tuple may collect garbage, which may run anything."""
    a, b = square()
    expected = [part.tobytes() for part in learnt(ops.affine_backward, a, a, b)]
    inner, before = [], gc.get_threshold()

    def collected(phase, info):
        if phase == "start":
            inner.append(ops.affine_backward(a + 1, a, b))

    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        for _ in range(50):
            keep = [[]]  # something to count
            assert [part.tobytes() for part in ops.affine_backward(a, a, b)] == expected
        del keep
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collected)
    assert inner


def test_profilers_see_a_call_of_c():
    a, b = square()
    expected, seen = learnt(ops.matmul, a, b), []
    sys.setprofile(lambda frame, event, arg: seen.append((event, getattr(arg, "__name__", ""))))
    try:
        result = ops.matmul(a, b)
    finally:
        sys.setprofile(None)
    assert np.array_equal(result, expected)
    assert ("c_call", "matmul") in seen
    assert ("c_return", "matmul") in seen


def test_each_thread_has_calls_of_its_own():
    a, b = square()
    expected, wrong = learnt(ops.matmul, a, b), []
    before, go = len(_lessons._entries), threading.Barrier(3)

    def work(number):
        x = a + number
        right = np.matmul(x.astype(np.float64), b)
        go.wait(10)
        for _ in range(3000):
            y = ops.matmul(x, b)
        if not np.allclose(y, right, rtol=1e-5) or _again._local.entries is main:
            wrong.append(number)

    main = _again._local.entries
    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert np.array_equal(ops.matmul(a, b), expected)
    ops.matmul(a, a)  # as every call that is new, it takes out what threads have left
    learnt(ops.matmul, a[:5], b)
    gc.collect()
    learnt(ops.matmul, a[:4], b)
    assert len(_lessons._entries) == before + 2


def test_chains_are_whole_when_entries_go():
    """Hundreds of calls, more than are kept: many a chain has several, all are found."""
    arrays = [np.full(n, 2.0) for n in range(1, 100)]
    for x in arrays:
        learnt(ops.relu_forward, x)
    before = _lessons.hits()
    for x in arrays:
        assert np.array_equal(ops.relu_forward(x), x)
    assert _lessons.hits() == before + len(arrays)
    for n in range(100, 400):
        ops.relu_forward(np.ones(n))
        ops.relu_forward(np.ones(n))
        assert len(_again._local.entries) <= _again._MOST
    _again.forget()
    assert not set(flat_view(_builtin.table())[calls.BUCKETS :]) - {0, *_lessons._entries}


def test_memory_that_has_moved():
    """Workspaces of a larger operation move those of a smaller one, whose call begins afresh."""
    a, b = square(np.float64, 30)
    expected = learnt(ops.matmul, a.T[::-2], b.T)
    rng = np.random.Generator(np.random.PCG64(1))
    for n in (200, 500, 900):
        big = rng.random((n, n))
        ops.matmul(big, big.T)
        for _ in range(4):
            assert np.array_equal(ops.matmul(a.T[::-2], b.T), expected)


def test_what_is_written_may_lie_where_the_last_result_was():
    """Memory is used again and again: it must not be taken for the call's own new arrays."""
    x, ones, zeros = np.arange(20.0).reshape(4, 5), np.ones(5), np.zeros(5)
    before = _lessons.hits()
    for _ in range(24):
        mean, var = np.zeros((2, 5))
        out = np.empty((4, 5))
        ops.batchnorm_forward(x, ones, zeros, mean, var, momentum=0.0, out=out)
    assert _lessons.hits() >= before + 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on():
    a, b = square()
    expected = learnt(ops.matmul, a, b)
    child = os.fork()
    if child == 0:
        right, before = [np.array_equal(ops.matmul(a, b), expected)], _lessons.hits()
        thread = threading.Thread(
            target=lambda: right.append(np.array_equal(learnt(ops.matmul, a, b), expected)))
        thread.start()
        thread.join()
        os._exit(0 if all(right) and len(right) == 2 and _lessons.hits() > before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_call_while_the_interpreter_ends():
    code = """
import numpy as np
from fastbp import ops
from fastbp.ops import _again
_again._HOLD_SECONDS, _again._FROM = 1e9, 0
class Last:
    def __init__(self):
        self.a, self.call = np.ones((4, 4)), ops.matmul
    def __del__(self):
        try:
            for _ in range(100):
                self.call(self.a, self.a)
        except Exception as error:
            print(type(error).__name__)
        print("last", flush=True)
last = Last()
for _ in range(5):
    ops.matmul(last.a, last.a)
import sys
sys.modules["builtins"].last = last
"""
    result = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], check=False,
                            capture_output=True, text=True, timeout=120)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "last" in result.stdout


@pytest.fixture
def lock_stays():
    """Letting the interpreter's lock go does nothing: Python's text of a kernel needs it."""
    words, places = _builtin.table(), [calls.LEAVE, calls.ENTER]
    before = words[places]
    words[places] = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value
    yield
    words[places] = before


def test_the_plain_kernel_does_the_same(lock_stays):
    """The compiled code against its Python text, over the same objects."""
    a, b = square()
    labels, own = np.arange(6), ctypes.py_object
    for short, function, arguments in (
            (product._short, lambda: ops.matmul(a, b), (a, b, None)),
            (affine._backward, lambda: ops.affine_backward(a, a, b),
             (a, a, b, None, None, "column", "identity", 0.01)),
            (losses._short, lambda: ops.hinge(a, labels),
             (losses.emit.emit_hinge, a, labels, None))):
        expected = bits(learnt(function) if short is not product._short else (learnt(function),))
        given = np.array([id(argument) for argument in arguments])
        # Python's integers are a new object each time: slope and layout are constants here.
        same = arguments if short is not affine._backward else None
        if same is not None:
            address = calls.call_again(short.own, address_of(given), len(given), None)
            result = ctypes.cast(address, own).value
            ctypes.pythonapi.Py_DecRef(own(result))
            assert bits(result if type(result) is tuple else (result,)) == expected
