"""All instructions: their numbers, and the one place that runs a task of any of them."""

from __future__ import annotations

from fastbp._jit import PARTS, Part, kernel
from fastbp._simd import at
from fastbp.kernels import (
    activations,
    batchnorm,
    conv,
    conv_weights,
    dropout,
    gemm,
    gemv,
    largest,
    layernorm,
    losses,
    planes,
    pool,
    reduce,
    softmax,
    sparse,
    update,
)
from fastbp.kernels._instruction import HEADER, OP, REALS, WORDS

# Words of a table's row.
ROW = HEADER + WORDS

# All instructions; the number of each is its place, and its branch in `run_task`.
INSTRUCTIONS = (
    *gemm.INSTRUCTIONS,
    *reduce.INSTRUCTIONS,
    *update.INSTRUCTIONS,
    *activations.INSTRUCTIONS,
    *losses.INSTRUCTIONS,
    *softmax.INSTRUCTIONS,
    *batchnorm.INSTRUCTIONS,
    *layernorm.INSTRUCTIONS,
    *dropout.INSTRUCTIONS,
    *gemv.INSTRUCTIONS,
    *sparse.INSTRUCTIONS,
    *largest.INSTRUCTIONS,
    # From here on those for images: see `work_with_images`.
    *conv.INSTRUCTIONS,
    *conv_weights.INSTRUCTIONS,
    *pool.INSTRUCTIONS,
    *planes.INSTRUCTIONS,
)
for _number, (_instruction, _run) in enumerate(INSTRUCTIONS):
    _instruction.number = _number
# The number of the first instruction for images.
FIRST_FOR_IMAGES = conv.INSTRUCTIONS[0][0].number


def _part(name, seconds, *files):
    """Compile the instructions of kernel files apart from the others; its name."""
    functions = tuple(run for file in files for _, run in file.INSTRUCTIONS)
    PARTS[name] = Part(functions, seconds)
    return name


# Files that share kernels are in one part. Each process compiles whole parts, so none is large.
PARTS_FOR_ALL = (
    _part("products", 4.9, gemm, update, activations, dropout),
    _part("norms", 1.9, batchnorm, layernorm, reduce),
    _part("losses", 1.8, losses, softmax, largest),
    _part("rows", 0.8, gemv, sparse),
)
PARTS_FOR_IMAGES = (
    _part("convolutions", 3.4, conv),
    _part("convolution_weights", 3.0, conv_weights),
    _part("planes", 1.6, pool, planes),
)


@kernel
def run_task(code, reals, row, task, step, slot, like, images):
    """Piece `task` of instruction `row`."""
    w = at(code, row * ROW + HEADER)
    r = at(reals, row * REALS)
    op = code[row * ROW + OP]
    if op == 0:
        gemm.run_pack(w, r, task, step, slot, like)
    elif op == 1:
        gemm.run_gemm(w, r, task, step, slot, like)
    elif op == 2:
        reduce.run_column_sums(w, r, task, step, slot, like)
    elif op == 3:
        reduce.run_gather_rows(w, r, task, step, slot, like)
    elif op == 4:
        reduce.run_gather_labels(w, r, task, step, slot, like)
    elif op == 5:
        reduce.run_squared_norm(w, r, task, step, slot, like)
    elif op == 6:
        reduce.run_clip_scale(w, r, task, step, slot, like)
    elif op == 7:
        reduce.run_combine(w, r, task, step, slot, like)
    elif op == 8:
        update.run_update(w, r, task, step, slot, like)
    elif op == 9:
        activations.run_activate(w, r, task, step, slot, like)
    elif op == 10:
        activations.run_activation_gradient(w, r, task, step, slot, like)
    elif op == 11:
        losses.run_loss_factor(w, r, task, step, slot, like)
    elif op == 12:
        losses.run_element_loss(w, r, task, step, slot, like)
    elif op == 13:
        losses.run_hinge(w, r, task, step, slot, like)
    elif op == 14:
        losses.run_merge_loss(w, r, task, step, slot, like)
    elif op == 15:
        softmax.run_softmax(w, r, task, step, slot, like)
    elif op == 16:
        softmax.run_softmax_cross_entropy(w, r, task, step, slot, like)
    elif op == 17:
        batchnorm.run_batchnorm_moments(w, r, task, step, slot, like)
    elif op == 18:
        batchnorm.run_batchnorm_finish(w, r, task, step, slot, like)
    elif op == 19:
        batchnorm.run_batchnorm_normalize(w, r, task, step, slot, like)
    elif op == 20:
        batchnorm.run_batchnorm_sums(w, r, task, step, slot, like)
    elif op == 21:
        batchnorm.run_batchnorm_dx(w, r, task, step, slot, like)
    elif op == 22:
        batchnorm.run_batchnorm_track(w, r, task, step, slot, like)
    elif op == 23:
        layernorm.run_layernorm(w, r, task, step, slot, like)
    elif op == 24:
        layernorm.run_layernorm_backward(w, r, task, step, slot, like)
    elif op == 25:
        dropout.run_dropout(w, r, task, step, slot, like)
    elif op == 26:
        gemv.run_gemv(w, r, task, step, slot, like)
    elif op == 27:
        gemv.run_row_product(w, r, task, step, slot, like)
    elif op == 28:
        sparse.run_sparse_affine(w, r, task, step, slot, like)
    elif op == 29:
        sparse.run_sparse_weight(w, r, task, step, slot, like)
    elif op == 30:
        largest.run_largest(w, r, task, step, slot, like)
    if images is not None:
        run_image_task(op, w, r, task, step, slot, like)


@kernel
def run_image_task(op, w, r, task, step, slot, like):
    """Piece `task` of an instruction for images."""
    if op == 31:
        conv.run_conv_pack(w, r, task, step, slot, like)
    elif op == 32:
        conv.run_conv(w, r, task, step, slot, like)
    elif op == 33:
        conv.run_conv_fold(w, r, task, step, slot, like)
    elif op == 34:
        conv_weights.run_conv_dw(w, r, task, step, slot, like)
    elif op == 35:
        conv_weights.run_conv_merge(w, r, task, step, slot, like)
    elif op == 36:
        pool.run_pool(w, r, task, step, slot, like)
    elif op == 37:
        pool.run_pool_gradient(w, r, task, step, slot, like)
    elif op == 38:
        planes.run_plane_moments(w, r, task, step, slot, like)
    elif op == 39:
        planes.run_plane_normalize(w, r, task, step, slot, like)
    elif op == 40:
        planes.run_plane_sums(w, r, task, step, slot, like)
    elif op == 41:
        planes.run_plane_dx(w, r, task, step, slot, like)
