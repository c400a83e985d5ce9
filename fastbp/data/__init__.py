"""Data files to arrays: readers, labels, standardisation, splitting.

    table = fastbp.data.read("iris.csv", columns=Columns(target="species"))
    preparation = fit_preparation(table, "classification")
    x, y = preparation.inputs(table, "float32"), preparation.targets(table, "float32")

Every problem with a file is a `DataError` that names the file and the place in it.
"""

from typing import TYPE_CHECKING

from fastbp._lazy import lazily

if TYPE_CHECKING:
    from fastbp.data._blocks import ArrayBlocks, Block, Blocks
    from fastbp.data._columns import Columns
    from fastbp.data._csv import read_csv
    from fastbp.data._frame import from_frame
    from fastbp.data._idx import read_idx
    from fastbp.data._labels import strata
    from fastbp.data._numpy import has_part, read_npy, read_npz
    from fastbp.data._preparation import (
        SCALINGS,
        Preparation,
        fit_preparation,
        preparation_of,
    )
    from fastbp.data._read import read
    from fastbp.data._scaler import Scaler, fit_scaler
    from fastbp.data._shards import Shards
    from fastbp.data._split import hold_out, stratified_split
    from fastbp.data._table import Table
else:
    __getattr__, __dir__ = lazily(__name__, {
        "_blocks": "ArrayBlocks Block Blocks",
        "_columns": "Columns",
        "_csv": "read_csv",
        "_frame": "from_frame",
        "_idx": "read_idx",
        "_labels": "strata",
        "_numpy": "has_part read_npy read_npz",
        "_preparation": "SCALINGS Preparation fit_preparation preparation_of",
        "_read": "read",
        "_scaler": "Scaler fit_scaler",
        "_shards": "Shards",
        "_split": "hold_out stratified_split",
        "_table": "Table",
    })

__all__ = ["SCALINGS", "ArrayBlocks", "Block", "Blocks", "Columns", "Preparation", "Scaler",
           "Shards", "Table", "fit_preparation", "fit_scaler", "from_frame", "has_part",
           "hold_out", "preparation_of", "read", "read_csv", "read_idx", "read_npy", "read_npz",
           "strata", "stratified_split"]
