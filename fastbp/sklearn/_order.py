"""The order of samples: the random stream of `sklearn.utils.shuffle`, in half of its time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._native import Native
from fastbp.kernels import shuffle

_shuffle = Native(shuffle.shuffle)
# For longer arrays RandomState draws 64 bits.
_MOST = 1 << 32


def shuffler(rng: Any) -> Callable[[np.ndarray], None]:
    """What does `rng.shuffle(numbers)` for int64 numbers (N,), and leaves rng in the same state.

    rng: a numpy.random.RandomState, whose stream NumPy has promised never to change; anything else
    (a Generator) is asked itself.
    """
    bits = getattr(rng, "_bit_generator", None)
    if type(rng) is not np.random.RandomState or bits is None:
        return rng.shuffle
    interface = bits.ctypes
    next_word = ctypes.cast(interface.next_uint32, ctypes.c_void_p).value
    state, shuffle_all = interface.state_address, _shuffle(np.dtype(np.int64))

    def shuffled(numbers: np.ndarray) -> None:
        if len(numbers) > _MOST:
            rng.shuffle(numbers)
            return
        with bits.lock:
            shuffle_all(address_of(numbers), len(numbers), next_word, state)

    return shuffled
