"""One thread or several: what was faster in the first calls, and never another result."""

import numpy as np
import pytest

import fastbp
from fastbp._runtime import thread_count
from fastbp.sklearn import MLPClassifier, _pace


class Clock:
    """A clock that a block moves on, by what its number of threads costs."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(("several", "one", "wanted"), [
    (3e-4, 2e-4, 1), (2e-4, 3e-4, 2), (5e-3, 4e-3, 2)])
def test_the_faster_way_is_kept_and_long_steps_are_not_tried_alone(monkeypatch, several, one,
                                                                    wanted):
    clock, pace, seen = Clock(), _pace.Pace(), []
    monkeypatch.setattr(_pace, "time", clock)
    with fastbp.threads(2, oversubscribe=True):
        for steps in (1, 1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 8):
            with pace.chosen(steps):
                seen.append(thread_count())
                clock.now += steps * (one if thread_count() == 1 else several)
    assert set(seen[9:]) == {wanted}
    assert (1 in seen[:9]) == (several < 1e-3 or 1 in seen[:2])


def test_weights_do_not_depend_on_the_choice():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 20)), rng.integers(0, 3, 500)
    fits = [MLPClassifier((40,), batch_size=64, max_iter=8, random_state=0, n_threads=n)
            for n in (1, None, None)]
    for fit in fits:
        with pytest.warns(Warning, match="Maximum iterations"):
            fit.fit(x, y)
    for other in fits[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(fits[0].coefs_, other.coefs_, strict=True))
