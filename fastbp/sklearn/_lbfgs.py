"""L-BFGS over the whole data: scipy's minimiser with loss and gradient from compiled programs.

The parameters are the network's arena as it lies, padding included: that is 0, and so is its
gradient. Rows are taken in blocks, so memory does not grow with their number; sums over blocks
have one order. Everything is float64, as in scikit-learn.
"""

from __future__ import annotations

import numpy as np

from fastbp.planner import Plan
from fastbp.sklearn._data import Samples
from fastbp.sklearn._losses import Criterion
from fastbp.sklearn._network import Model
from fastbp.sklearn._threads import share_of_cores
from fastbp.training_plan import TrainingPlan

# Rows of a block: enough for matmul's speed, few enough for the caches.
BLOCK_ROWS = 2048


class Objective:
    """Loss and gradient as functions of the parameters.

    Raises:
        ZeroDivisionError: the weights sum to 0.
    """

    def __init__(self, model: Model, criterion: Criterion, samples: Samples, alpha: float,
                 n_threads: int | None) -> None:
        self.model, self.samples, self.n_threads = model, samples, n_threads
        self._criterion = criterion
        weights = samples.weights
        self.total = float(len(samples) if weights is None else weights.sum(dtype=np.float64))
        if self.total == 0:
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        self._decay = alpha / self.total
        self._loss = np.zeros((1, 1))
        self._programs: dict[int, TrainingPlan] = {}

    def __call__(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """(loss, gradient) with the penalty."""
        network = self.model.network
        network.values[...] = parameters
        gradient, loss = np.zeros_like(parameters), 0.0
        step = min(BLOCK_ROWS, self.samples.most_rows(), len(self.samples))
        with share_of_cores(self.n_threads):
            for begin in range(0, len(self.samples), step):
                rows = min(step, len(self.samples) - begin)
                source = self.samples.source(begin, rows)
                program = self._program(rows)
                program.set_batch([source.x], [source.target], source.index, source.weights)
                program.plan.run(1)
                gradient += network.gradient_values
                loss += self._loss[0, 0]
        weights = parameters[: network.decay_size]
        gradient[: network.decay_size] += self._decay * weights
        return float(loss + 0.5 * self._decay * (weights @ weights)), gradient

    def _program(self, rows: int) -> TrainingPlan:
        if rows not in self._programs:
            plan = Plan(self.model.network, rows, training=True)
            self._programs[rows] = TrainingPlan(
                plan, [self._criterion.loss], [self.samples.source(0, 0).target], self._loss,
                weighted=self.samples.weights is not None,
                reduction=self._criterion.reduction(self.total))
        return self._programs[rows]


def minimize(objective: Objective, *, tol: float, max_iter: int, max_fun: int
             ) -> tuple[float, int]:
    """Leave the best weights in the objective's model; (loss, iterations).

    Warns:
        ConvergenceWarning: in scikit-learn's words, where scipy says that it has not converged.
    """
    import scipy.optimize
    from sklearn.utils.optimize import _check_optimize_result

    network = objective.model.network
    result = scipy.optimize.minimize(
        objective, network.values.copy(), method="L-BFGS-B", jac=True,
        options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol})
    iterations = _check_optimize_result("lbfgs", result, max_iter)
    network.values[...] = result.x
    return float(result.fun), int(iterations)
