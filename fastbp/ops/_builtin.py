"""Built-in functions of Python that are made of compiled code (docs/design/012-calls.md).

CPython makes a function from a PyMethodDef structure: a name, an address, how it is called. The
address is that of `kernels.calls.call_again`, compiled like every other kernel. What it knows about
objects in memory is looked at first, in this process: where anything is unlike, there are none.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import _native, _placement, _pool, _runtime
from fastbp._arena import address_of, allocate, flat_view
from fastbp._jit import DISABLED
from fastbp._simd import guard
from fastbp.kernels import calls

native = _native.Native(calls.call_again)
# Of CPython's and NumPy's C interfaces.
METH_FASTCALL = 0x80
ARRAY_API, ARRAY_TYPE, NEW_FROM_DESCRIPTOR = "_ARRAY_API", 2, 94
HEADER_BYTES = 16


class _MethodDef(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p))


def _keep(thing: Any) -> Any:
    """The object, never to be freed: code that runs while the interpreter ends may yet need it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    return thing


@functools.cache
def is_possible() -> bool:
    """True where objects lie in memory as `kernels.calls` takes them to, and may be read so.

    Not without the lock of the interpreter, in plain Python, nor with bounds checks, which know no
    objects.
    """
    if (DISABLED or guard.ENABLED or sys.implementation.name != "cpython"
            or ctypes.sizeof(ctypes.c_void_p) != 8 or object.__basicsize__ != HEADER_BYTES
            or sysconfig.get_config_var("Py_GIL_DISABLED")):
        return False
    frozen = np.zeros((3, 4))
    frozen.flags.writeable = False
    base = np.zeros((5, 6, 7), np.float32)
    probes: list[np.ndarray] = [
        np.zeros(3), np.zeros((), np.float32), frozen, base[::-2, 1:, ::3], base.T,
        np.zeros(4, np.int64), np.zeros(4, ">f4")]
    number = 1.5
    return (ctypes.c_double.from_address(id(number) + calls.REAL_VALUE).value == number
            and all(map(_lies_as_expected, probes)) and _makes_arrays())


def _lies_as_expected(array: np.ndarray) -> bool:
    def words(address: int, kind: Any, count: int = 1) -> list[int]:
        return list((kind * count).from_address(address))

    here, axes = id(array), array.ndim
    word = functools.partial(words, kind=ctypes.c_int64)
    dtype = array.dtype
    text = np.array([*map(ord, (dtype.kind, dtype.char, dtype.byteorder))], np.uint8).tobytes()
    about = ctypes.string_at(id(dtype) + calls.DTYPE_WORD, 8)
    flags = words(here + calls.FLAGS, ctypes.c_int32)[0]
    return (word(here + calls.TYPE) == [id(np.ndarray)]
            and word(here + calls.DATA) == [array.__array_interface__["data"][0]]
            and words(here + calls.AXES, ctypes.c_int32) == [axes]
            and (axes == 0 or (
                word(word(here + calls.SHAPE)[0], count=axes) == list(array.shape)
                and word(word(here + calls.STRIDES)[0], count=axes) == list(array.strides)))
            and word(here + calls.DTYPE) == [id(dtype)]
            and about[:3] == text and about[4:] == np.int32(dtype.num).tobytes()
            and bool(flags & calls.WRITEABLE) == array.flags.writeable)


def _array_api() -> Any:
    """NumPy's table of C functions: their places in it are promised never to change."""
    core = importlib.import_module("numpy._core._multiarray_umath")
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = get(getattr(core, ARRAY_API), None)
    return (ctypes.c_void_p * (NEW_FROM_DESCRIPTOR + 1)).from_address(table)


def _makes_arrays() -> bool:
    try:
        api = _array_api()
    except (ImportError, AttributeError, ValueError):
        return False
    if api[ARRAY_TYPE] != id(np.ndarray):
        return False
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object, ctypes.c_int64,
                             *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_void_p)
    shape, dtype = (ctypes.c_int64 * 2)(3, 5), np.dtype(np.float32)
    _keep(dtype)  # the array takes it over
    made = kind(api[NEW_FROM_DESCRIPTOR])(np.ndarray, dtype, 2, ctypes.addressof(shape), None, None,
                                          0, None)
    return (type(made) is np.ndarray and made.shape == (3, 5) and made.dtype is dtype
            and bool(made.flags.c_contiguous and made.flags.owndata and made.flags.writeable))


@functools.cache
def table() -> np.ndarray:
    """The words that all functions share (kernels/calls.py)."""
    made: np.ndarray = _keep(allocate(calls.TABLE_WORDS, np.int64))
    words, api = flat_view(made), ctypes.pythonapi
    for place, thing in ((calls.NDARRAY, np.ndarray), (calls.REAL, float), (calls.NONE, None),
                         (calls.TRUE, True)):
        words[place] = id(_keep(thing))
    for place, name in ((calls.THREAD, "PyThreadState_Get"), (calls.INCREF, "Py_IncRef"),
                        (calls.DECREF, "Py_DecRef"), (calls.NEW_TUPLE, "PyTuple_New"),
                        (calls.SET_ITEM, "PyTuple_SetItem"),
                        (calls.NEW_REAL, "PyFloat_FromDouble"),
                        (calls.LEAVE, "PyEval_SaveThread"), (calls.ENTER, "PyEval_RestoreThread"),
                        (calls.VALUE_OF, "PyContextVar_Get")):
        words[place] = ctypes.cast(getattr(api, name), ctypes.c_void_p).value
    words[calls.NEW_ARRAY] = _array_api()[NEW_FROM_DESCRIPTOR]
    words[calls.CORE], words[calls.SCOPE] = _placement.address_of_call(), id(_runtime.scope)
    words[calls.VALUE_AT] = address_of(_keep(allocate(1, np.int64)))
    words[calls.LIMITS] = _keep(_runtime.known_limits).buffer_info()[0]
    words[calls.POOL] = address_of(_keep(_pool.where))
    return made


def new_function(name: str, numbers: int) -> tuple[Callable[..., Any], int]:
    """(A function for one operation, the address that stands for it in descriptions).

    numbers: how many of its last arguments are float of any value.
    """
    code = native(np.dtype(np.int64))
    _keep(_native._engines)  # else the code would go with the modules
    own = _keep(np.array([address_of(table()), numbers]))
    definition = _MethodDef(name.encode(), ctypes.cast(code, ctypes.c_void_p),  # type: ignore[arg-type]
                            METH_FASTCALL, None)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object,
                                                     ctypes.c_void_p]
    return make(ctypes.addressof(_keep(definition)), own, None), id(own)


def dtype_word(dtype: np.dtype) -> int:
    """What tells a dtype in descriptions."""
    return ctypes.c_int64.from_address(id(dtype) + calls.DTYPE_WORD).value


def thread_address() -> int:
    """Address of what Python keeps about this thread: the first word of a description."""
    get = ctypes.pythonapi.PyThreadState_Get
    get.restype, get.argtypes = ctypes.c_void_p, []
    return int(get())
