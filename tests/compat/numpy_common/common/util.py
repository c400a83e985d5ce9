import numpy as np

from fastbp.benchmark._peers._numpy_dlfs import col2im, im2col  # noqa: F401


def shuffle_dataset(x, t):
    order = np.random.permutation(len(x))
    return x[order], t[order]


def smooth_curve(x):
    mirrored = np.concatenate([x[10:0:-1], x, x[:-11:-1]])
    window = np.kaiser(11, 2)
    return np.convolve(window / window.sum(), mirrored, "valid")[5:-5]
