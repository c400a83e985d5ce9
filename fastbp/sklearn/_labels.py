"""Classes among labels, and labels as numbers of classes.

`LabelBinarizer` asks twice what kind of labels there are and sorts them twice: for 100,000 integers
that takes as long as 50 training steps. Integers that span a short range are counted here instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

# Where there are fewer samples of a class, some releases of scikit-learn warn: left to them.
LEAST_SAMPLES = 4


def fitted_binarizer(y: Any) -> LabelBinarizer:
    """`LabelBinarizer().fit(y)`.

    Raises:
        ValueError: y is no target of a classification (scikit-learn's message).
    """
    if _are_integers(y) and len(y) and (least := int(y.min())) > int(y.max()) - len(y):
        found = np.flatnonzero(np.bincount(_above(y, least)))
        if len(found) * LEAST_SAMPLES <= len(y):
            binarizer = LabelBinarizer()
            binarizer.y_type_ = "multiclass" if len(found) > 2 else "binary"
            binarizer.sparse_input_ = False
            binarizer.classes_ = (found + least).astype(y.dtype)
            return binarizer
    return LabelBinarizer().fit(y)


def numbers_of(y: Any, classes: np.ndarray) -> np.ndarray:
    """The number of each label's class, int64 (N,).

    classes: sorted; every label is one of them.
    """
    if _are_integers(y) and _are_integers(classes):
        least, span = int(classes[0]), int(classes[-1]) - int(classes[0])
        if span < len(y):
            table = np.zeros(span + 1, np.int64)
            table[_above(classes, least)] = np.arange(len(classes))
            return table[_above(y, least)]
    return np.searchsorted(classes, y).astype(np.int64, copy=False)


def _are_integers(y: Any) -> bool:
    return type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "iu" and y.dtype != np.uint64


def _above(y: np.ndarray, least: int) -> np.ndarray:
    return y.astype(np.int64, copy=False) - least
