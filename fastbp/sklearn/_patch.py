"""fastbp's estimators in scikit-learn's place, for code that cannot be edited."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from fastbp.sklearn._classifier import MLPClassifier
from fastbp.sklearn._regressor import MLPRegressor

REPLACED: dict[str, type[Any]] = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}


class Patch:
    """What `patch` returns: leaving its `with` block, or `undo`, puts everything back."""

    def __init__(self) -> None:
        import sklearn.neural_network as module

        self._module = module
        self._before = {name: getattr(module, name) for name in REPLACED}
        for name, kind in REPLACED.items():
            setattr(module, name, kind)

    def undo(self) -> None:
        """Put back what was there before; a second call does nothing."""
        for name, kind in self._before.items():
            setattr(self._module, name, kind)
        self._before = {}

    def __enter__(self) -> Patch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.undo()


def patch() -> Patch:
    """Make `from sklearn.neural_network import MLPClassifier, MLPRegressor` give fastbp's.

    Call it before the code that imports them; as a plain call, or in a `with` statement that ends
    it. Names imported before, and models unpickled, stay scikit-learn's.
    """
    return Patch()
