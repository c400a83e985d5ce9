import numpy as np


def numerical_gradient(f, x, h=1e-4):
    grad = np.zeros_like(x)
    for where in np.ndindex(x.shape):
        kept = x[where]
        x[where] = kept + h
        above = f(x)
        x[where] = kept - h
        grad[where] = (above - f(x)) / (2 * h)
        x[where] = kept
    return grad
