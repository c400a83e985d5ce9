"""Sparse inputs: CSR matrices as kernels take them, and the affine layer over their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import DataError, DTypeError
from fastbp._program import Operand, Program
from fastbp.emit.reduce import BLOCK
from fastbp.kernels.reduce import FLOAT32, FLOAT64, UINT8
from fastbp.kernels.sparse import SPARSE_AFFINE, SPARSE_WEIGHT

KINDS = {np.dtype(np.float32): FLOAT32, np.dtype(np.float64): FLOAT64, np.dtype(np.uint8): UINT8}
# Ranges of features that the gradient of a weight is divided into: each passes over all entries.
FEATURE_TASKS = 8


@dataclass(frozen=True)
class SparseRows:
    """Rows of a CSR matrix: its three arrays, contiguous, and the number of its columns."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    columns: int

    @classmethod
    def of(cls, x: Any) -> SparseRows:
        """The rows of a SciPy sparse matrix or array; CSR is taken as it lies, others converted.

        Raises:
            DTypeError: values that are no real numbers. DataError: indices outside the matrix.
        """
        if x.format != "csr":
            x = x.tocsr()
        values = x.data
        if values.dtype.kind not in "biuf":
            raise DTypeError(f"a sparse matrix of dtype {values.dtype}", "numbers")
        if values.dtype not in KINDS:
            values = values.astype(np.float64)
        wide = np.int64 if x.indptr.itemsize > 4 or x.indices.itemsize > 4 else np.int32
        found = cls(np.ascontiguousarray(x.indptr, wide), np.ascontiguousarray(x.indices, wide),
                    np.ascontiguousarray(values), int(x.shape[1]))
        found._check(int(x.shape[0]))
        return found

    def _check(self, rows: int) -> None:
        pointers, indices = self.indptr, self.indices
        sound = (len(pointers) == rows + 1 and pointers[0] >= 0 and np.all(np.diff(pointers) >= 0)
                 and pointers[-1] <= min(len(indices), len(self.values)))
        if sound and len(indices):
            sound = indices.min() >= 0 and indices.max() < self.columns
        if not sound:
            raise DataError("a sparse matrix with indices outside its shape "
                            f"({rows}, {self.columns})", "a valid CSR matrix",
                            "x.check_format() tells what is wrong")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, rows: slice) -> SparseRows:
        """Consecutive rows, without a copy."""
        begin, end, _ = rows.indices(len(self))
        return SparseRows(self.indptr[begin : end + 1], self.indices, self.values, self.columns)

    def words(self, index: int) -> dict[str, int]:
        """What the instructions need to find these rows, by the int64 index at an address."""
        return {"indptr": address_of(self.indptr), "indices": address_of(self.indices),
                "values": address_of(self.values), "wide": int(self.indptr.itemsize == 8),
                "kind": KINDS[self.values.dtype], "index": index}


@dataclass(frozen=True)
class SparseInput:
    """A batch of sparse rows in a program that is being built; its arrays are set before a run."""

    rows: int
    cols: int


_UNSET: dict[str, Any] = {"indptr": 0, "indices": 0, "values": 0, "wide": 0, "kind": 0, "index": 0}


def emit_sparse_affine(program: Program, y: Operand, x: SparseInput, w: Operand, bias: int) -> int:
    """y = x W + b; w is the (D, C) factor, bias an address or 0. Returns the instruction's row."""
    block_rows = max(1, min(y.rows, BLOCK // max(1, 64 * y.cols)))
    return program.emit(SPARSE_AFFINE, tasks=-(-y.rows // block_rows), y=y.address,
                        y_step=y.row_step, rows=x.rows, w=w.address, w_step=w.row_step,
                        w_lane=w.col_step, bias=bias, cols=y.cols, block_rows=block_rows, **_UNSET)


def emit_sparse_weight(program: Program, dw: Operand, dz: Operand, x: SparseInput) -> int:
    """dW = x^T dz; dw is the (D, C) factor. Returns the instruction's row."""
    block = -(-x.cols // FEATURE_TASKS)
    return program.emit(SPARSE_WEIGHT, tasks=-(-x.cols // block), dw=dw.address,
                        dw_step=dw.row_step, dw_lane=dw.col_step, dz=dz.address,
                        dz_step=dz.row_step, rows=x.rows, features=x.cols, cols=dz.cols,
                        block_features=block, **_UNSET)
