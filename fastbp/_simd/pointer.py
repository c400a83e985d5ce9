"""Typed pointers: how kernels see memory.

`at(p, i)` advances a pointer, `p[i]` reads and `p[i] = v` writes one element. Compiled, a
pointer is one machine word; in plain Python it is the small class below.
"""

from __future__ import annotations

import ctypes
import operator
from typing import Any

import numpy as np

from fastbp._arena import ALIGNMENT
from fastbp._simd import guard
from fastbp._simd._emit import I64, bytes_of, lowers, scalar_ir, types
from fastbp._simd.machine import machine


class Pointer:
    """Address and dtype of an element; indexing reads and writes memory, as in C."""

    __slots__ = ("address", "dtype")

    def __init__(self, address: int, dtype: Any) -> None:
        self.address = int(address)
        self.dtype = np.dtype(dtype)

    def view(self, index: int, count: int) -> np.ndarray:
        """`count` elements from `index` on, as an array over the same memory."""
        start = self.address + int(index) * self.dtype.itemsize
        size = count * self.dtype.itemsize
        guard.check_plain(start, size)
        return np.frombuffer((ctypes.c_char * size).from_address(start), dtype=self.dtype)

    def __getitem__(self, index: int) -> Any:
        """float32 stays a NumPy scalar; all else becomes a Python number, as weakly typed as
        the compiled value is when it meets a vector.
        """
        value = self.view(index, 1)[0]
        return value if self.dtype == np.float32 else value.item()

    def __setitem__(self, index: int, value: Any) -> None:
        self.view(index, 1)[0] = value


def at(p: Any, index: int) -> Any:
    """The pointer `index` elements further."""
    return Pointer(p.address + int(index) * p.dtype.itemsize, p.dtype)


def to_line(p: Any, step: int) -> int:
    """Elements from `p` to where the next cache line begins, 0 at its beginning; also 0 where rows
    that are `step` elements apart do not all lie alike.
    """
    size = p.dtype.itemsize
    return -p.address % ALIGNMENT // size if step * size % ALIGNMENT == 0 else 0


def pointer(address: int, like: Any) -> Any:
    """The pointer at an absolute address, of the element type of the pointer `like`."""
    return Pointer(address, like.dtype)


def pointer_to(address: int, dtype: Any) -> Any:
    """The pointer at an absolute address to elements of a NumPy scalar type (`np.int64`, ...)."""
    return Pointer(address, dtype)


def data_pointer(array: Any) -> Any:
    """The pointer to an array's first element."""
    return Pointer(array.ctypes.data, array.dtype)


def scalar(p: Any, value: float) -> Any:
    """`value` converted to the type of `p`'s elements."""
    return p.dtype.type(value)


def lanes(p: Any) -> int:
    """Elements of `p`'s type in one vector register: a constant of the compilation."""
    return machine().lanes(p.dtype.itemsize)


def tile_rows(p: Any) -> int:
    """Rows of the matmul register tile for `p`'s type: a constant of the compilation."""
    return machine().tile_rows


def _is_pointer(p: Any) -> bool:
    return isinstance(p, types.CPointer)


def _as_pointer_type(scalar: Any) -> Any:
    if isinstance(scalar, types.NumberClass):
        return types.CPointer(scalar.dtype)
    if isinstance(scalar, types.DType):
        return types.CPointer(scalar.dtype)
    return None


def _int_if(condition: bool) -> Any:
    return types.int64 if condition else None


@lowers(at, lambda p, i: p if _is_pointer(p) and isinstance(i, types.Integer) else None)
def _at(builder: Any, sig: Any, p: Any, i: Any) -> Any:
    return builder.gep(p, [_index(builder, sig.args[1], i)])


@lowers(to_line, lambda p, step: _int_if(_is_pointer(p) and isinstance(step, types.Integer)))
def _to_line(builder: Any, sig: Any, p: Any, step: Any) -> Any:
    size, last = bytes_of(p.type.pointee), I64(ALIGNMENT - 1)
    bytes_left = builder.and_(builder.neg(builder.ptrtoint(p, I64)), last)
    apart = builder.and_(builder.mul(_index(builder, sig.args[1], step), I64(size)), last)
    alike = builder.icmp_signed("==", apart, I64(0))
    return builder.select(alike, builder.udiv(bytes_left, I64(size)), I64(0))


@lowers(pointer, lambda a, p: p if _is_pointer(p) and isinstance(a, types.Integer) else None)
def _pointer(builder: Any, sig: Any, address: Any, like: Any) -> Any:
    return builder.inttoptr(_index(builder, sig.args[0], address), like.type)


@lowers(pointer_to, lambda a, t: _as_pointer_type(t))
def _pointer_to(builder: Any, sig: Any, address: Any, dtype: Any) -> Any:
    return builder.inttoptr(_index(builder, sig.args[0], address),
                            scalar_ir(sig.return_type.dtype).as_pointer())


@lowers(data_pointer, lambda a: types.CPointer(a.dtype) if isinstance(a, types.Array) else None)
def _data_pointer(builder: Any, sig: Any, array: Any) -> Any:
    return builder.extract_value(array, 4)  # Numba's array: meminfo, parent, size, itemsize, data


@lowers(scalar, lambda p, v: p.dtype if isinstance(v, types.Float) else None)
def _scalar(builder: Any, sig: Any, p: Any, value: Any) -> Any:
    wanted = p.type.pointee
    if value.type == wanted:
        return value
    return (builder.fptrunc if bytes_of(wanted) == 4 else builder.fpext)(value, wanted)


@lowers(lanes, lambda p: _int_if(_is_pointer(p)))
def _lanes(builder: Any, sig: Any, p: Any) -> Any:
    return I64(machine().lanes(bytes_of(p.type.pointee)))


@lowers(tile_rows, lambda p: _int_if(_is_pointer(p)))
def _tile_rows(builder: Any, sig: Any, p: Any) -> Any:
    return I64(machine().tile_rows)


def _index(builder: Any, kind: Any, value: Any) -> Any:
    """An integer argument as i64."""
    if value.type.width == 64:
        return value
    return builder.sext(value, I64) if kind.signed else builder.zext(value, I64)


if guard.ENABLED:  # Numba's own indexing of pointers, with the check before it

    @lowers(operator.getitem, None, "CPointer", "intp")
    def _checked_getitem(builder: Any, sig: Any, p: Any, i: Any) -> Any:
        where = builder.gep(p, [i])
        guard.check(builder, where, I64(bytes_of(where.type.pointee)))
        return builder.load(where)

    @lowers(operator.setitem, None, "CPointer", "intp", "Number")
    def _checked_setitem(builder: Any, sig: Any, p: Any, i: Any, value: Any) -> None:
        where = builder.gep(p, [i])
        guard.check(builder, where, I64(bytes_of(where.type.pointee)))
        builder.store(value, where)
