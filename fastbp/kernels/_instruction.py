"""What an instruction of a program is: a name, its words and its scalars.

A kernel file declares `NAME = Instruction("name", words="y x size", reals="slope")` beside the
kernel and one `run_name(w, r, task, step, slot, like)` that does piece `task` of it:

    w      pointer to int64: the words, in the declared order, which is the kernel's argument order
    r      pointer to float64: the scalars, in the declared order
    task   0 .. tasks-1
    step   how many steps this run has done before (programs run many steps in one call)
    slot   which thread this is, 0 .. threads-1: for private scratch memory, never for results
    like   a pointer of the program's element type, for `pointer(address, like)`
"""

from __future__ import annotations

from collections.abc import Mapping

WORDS = 30
REALS = 8
# Columns of the instruction table before the words.
OP, TASKS, FIRST, WAIT = range(4)
HEADER = 4


class Instruction:
    """Name and operands of an instruction; its number is its place in `program.INSTRUCTIONS`."""

    def __init__(self, name: str, words: str, reals: str = "") -> None:
        self.name = name
        self.words = tuple(words.split())
        self.reals = tuple(reals.split())
        self.places = {name: place for place, name in enumerate(self.words)}
        self.names = {*self.words, *self.reals}
        self.number = -1
        if len(self.words) > WORDS or len(self.reals) > REALS:
            raise ValueError(f"{name}: {len(self.words)} words, {len(self.reals)} reals")
        # What fills up a row of the tables.
        self._empty_words = [0] * (WORDS - len(self.words))
        self._empty_reals = [0.0] * (REALS - len(self.reals))

    def split(self, operands: Mapping[str, float]) -> tuple[list[int], list[float]]:
        """The operands as rows of the two tables; KeyError where they are not those declared."""
        if len(operands) != len(self.names):
            raise KeyError
        words = [int(operands[name]) for name in self.words]
        reals = [operands[name] for name in self.reals]
        return words + self._empty_words, reals + self._empty_reals

    def __repr__(self) -> str:
        return f"Instruction({self.name})"
