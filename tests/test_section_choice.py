"""When a step is cut into sections, and what each of them owns."""

from __future__ import annotations

import itertools

import numpy as np

import fastbp
from fastbp.planner import Plan, Update
from fastbp.sections import owned, section_count


def mlp(*sizes):
    return fastbp.Sequential([fastbp.Affine(a, b) for a, b in itertools.pairwise(sizes)])


def count(net, rows, *, updates=True, clip_norm=None, **settings):
    net.build()
    hyper = np.zeros(6)
    update = Update(0, hyper, hyper, np.zeros((1, 4)), (), clip_norm) if updates else None
    return section_count(Plan(net, rows, training=True, update=update, **settings))


def test_the_problem_alone_decides():
    assert count(mlp(64, 100, 10), 200) == count(mlp(64, 100, 10), 32) == 2
    with fastbp.threads(1):
        assert count(mlp(64, 100, 10), 32) == 2
    assert count(mlp(784, 256, 10), 32) == 4
    assert count(mlp(64, 100, 10), 4096) == 1  # strands take more threads
    assert count(mlp(784, 512, 10), 256) == 1  # so do tasks
    assert count(mlp(64, 100, 10), 2) == count(mlp(64, 50, 10), 32) == 1  # too little to do
    assert count(mlp(64, 100, 64, 10), 32) == 2
    assert count(mlp(784, 256, 128, 10), 32) == count(mlp(784, 128, 256, 64, 10), 32) == 2
    assert count(mlp(784, 256, 30, 10), 32) == 1  # not a line of float32 for each of the two
    assert count(mlp(64, 64, 64, 10), 32) == 1  # too little for four waits
    assert count(mlp(64, 100, 64, 10), 200) == 1  # strands
    assert count(mlp(784, 256, 128, 10), 128) == 1  # tasks
    assert count(mlp(64, 100, 10), 32, updates=False) == 1
    assert count(mlp(64, 100, 10), 32, clip_norm=1.0) == 1  # needs all gradients first
    assert count(mlp(64, 100, 10), 32, sparse=(True,)) == 1


def test_only_affine_layers_in_a_row_are_cut():
    def counted(*layers):
        return count(fastbp.Sequential(layers), 32)

    first, last = (64, 100), (100, 10)
    assert counted(fastbp.Affine(*first), fastbp.GELU(), fastbp.Affine(*last)) == 2
    for between in (fastbp.BatchNorm(100), fastbp.Dropout(0.5), fastbp.LayerNorm(100)):
        assert counted(fastbp.Affine(*first), between, fastbp.Affine(*last)) == 1
        assert counted(fastbp.Affine(*first), fastbp.Affine(100, 100), between,
                       fastbp.Affine(*last)) == 1
    assert counted(fastbp.Affine(*first), fastbp.Affine(*last, activation="relu")) == 1
    graph = fastbp.Graph()
    h = fastbp.Affine(*first)(graph.input(64))
    graph.output(fastbp.Affine(*last)(h))
    graph.output(h)
    assert count(graph, 32) == 1
    graph = fastbp.Graph()
    h = fastbp.Affine(*first)(graph.input(64))
    graph.output(fastbp.Affine(*last)(fastbp.Add()(h, fastbp.Affine(100, 100)(h))))
    assert count(graph, 32) == 1


def test_each_has_whole_lines_and_all_have_all():
    for neurons, parts, line in itertools.product((64, 100, 257), (2, 3, 4), (8, 16)):
        found = [owned(neurons, parts, number, line) for number in range(parts)]
        assert [own.start for own in found[1:]] == [own.stop for own in found[:-1]]
        assert (found[0].start, found[-1].stop) == (0, neurons)
        assert all(own.start % line == 0 and own.start < own.stop for own in found)
