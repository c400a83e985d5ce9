"""What both of the course's two-layer networks compute."""

from __future__ import annotations

from typing import Any

from fastbp.compat.cs231n import layer_utils, layers
from fastbp.compat.cs231n._affine import parameter_gradients
from fastbp.compat.cs231n.classifiers._parameters import penalty


def two_layer_loss(p: dict[str, Any], X: Any, y: Any, reg: float) -> Any:  # noqa: N803 - its name
    """Scores (N, C) where y is None, else (loss, gradients by the names of p).

    affine - relu - affine - softmax with W1 (D, H), b1 (H,), W2 (H, C), b2 (C,), and the penalty
    reg/2 * sum(W*W).
    """
    hidden, cache1 = layer_utils.affine_relu_forward(X, p["W1"], p["b1"])
    scores, cache2 = layers.affine_forward(hidden, p["W2"], p["b2"])
    if y is None:
        return scores
    loss, dscores = layers.softmax_loss(scores, y)
    dhidden, dw2, db2 = layers.affine_backward(dscores, cache2)
    dw1, db1 = parameter_gradients(dhidden, *cache1)
    grads = {"W1": dw1, "b1": db1, "W2": dw2, "b2": db2}
    return loss + penalty(p, grads, reg), grads
