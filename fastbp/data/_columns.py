"""Which columns of a table are features and which one is the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastbp._errors import DataError

_NAMES_SHOWN = 12


@dataclass(frozen=True)
class Columns:
    """A rule for choosing columns, from the user or from a trained model.

    Attributes:
        target: name of the target's column or its index from 0 (negative: from the end);
            None: the file has features only.
        features: names of the features, in the model's order; (): everything but the target.
        width: the number of features wanted; None: any.
        position: the target's index in a file with `width` features where names do not tell.
        target_required: whether a file without the target is refused. Only a rule with `width`
            can tell that the target is not there.
    """

    target: str | int | None = -1
    features: tuple[str, ...] = ()
    width: int | None = None
    position: int = -1
    target_required: bool = True

    def choose(self, source: str, width: int, names: Sequence[str] = ()) -> Choice:
        """Apply the rule to a file with `width` columns and, where it has a header, `names`.

        Raises:
            DataError: a column is missing or their number does not fit.
        """
        if self.features and names:
            return self._by_name(source, names)
        if self.width is not None:
            return self._by_position(source, width, self.width)
        target = None if self.target is None else self._target_index(source, width, names)
        return Choice([i for i in range(width) if i != target], target)

    def _by_position(self, source: str, width: int, wanted: int) -> Choice:
        """The columns as the training data had them, with or without the target."""
        if width == wanted and self.target_required:
            raise DataError(f"{source}: {width} columns, which are the features only",
                            f"{width + 1} columns, the target among them")
        if width == wanted:
            return Choice(list(range(width)), None)
        if width != wanted + 1:
            raise DataError(f"{source}: {width - 1} features",
                            f"{wanted}, as in the training data")
        target = self.position % width
        return Choice([i for i in range(width) if i != target], target)

    def _by_name(self, source: str, names: Sequence[str]) -> Choice:
        missing = [name for name in self.features if name not in names]
        if missing:
            raise DataError(f"{source}: no column named {_listed(missing)}",
                            "the columns of the training data")
        target = self.target if isinstance(self.target, str) else None
        if target is not None and target not in names:
            if self.target_required:
                raise DataError(f"{source}: no column named {target!r}, the target")
            target = None
        found = None if target is None else names.index(target)
        return Choice([names.index(name) for name in self.features], found)

    def _target_index(self, source: str, width: int, names: Sequence[str]) -> int:
        if isinstance(self.target, str) and self.target in names:
            return names.index(self.target)
        try:
            index = int(self.target)  # type: ignore[arg-type]
        except ValueError:
            wanted = f"one of {_listed(names)}" if names else "an index, as there is no header"
            raise DataError(f"{source}: no column named {self.target!r}", wanted,
                            "name the target's column with --target") from None
        if not -width <= index < width:
            raise DataError(f"{source}: no column {index}",
                            f"an index from {-width} to {width - 1}",
                            "name the target's column with --target")
        return index % width


@dataclass(frozen=True)
class Choice:
    """Indices from 0 of the feature columns and of the target's (None: no target)."""

    features: list[int]
    target: int | None


def _listed(names: Sequence[str]) -> str:
    words = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    return words + (", ..." if len(names) > _NAMES_SHOWN else "")
