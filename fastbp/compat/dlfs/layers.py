"""`common.layers`: classes with `forward` and `backward` that keep what backward needs on self.

A star import brings `np`, all functions of `functions`, im2col and col2im too, as the book's does.
"""

import numpy as np  # noqa: F401

from fastbp.compat.dlfs._batchnorm import BatchNormalization  # noqa: F401
from fastbp.compat.dlfs._layers import (  # noqa: F401
    Affine,
    Dropout,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
)
from fastbp.compat.dlfs._spatial import Convolution, Pooling  # noqa: F401
from fastbp.compat.dlfs.functions import (  # noqa: F401
    cross_entropy_error,
    identity_function,
    mean_squared_error,
    relu,
    relu_grad,
    sigmoid,
    sigmoid_grad,
    softmax,
    softmax_loss,
    step_function,
    sum_squared_error,
)
from fastbp.compat.dlfs.util import col2im, im2col  # noqa: F401
