"""The lesson's network in `fastbp.compat.miniflow` beside its NumPy twin.

Bounds: sums of at most 13 (columns) or 40 (rows) products, so 1e-12 of the largest element leaves
a factor of a hundred over n*u for what a few steps add; float32 likewise with 1e-4.
"""

import numpy as np

from fastbp.benchmark._peers import _numpy_miniflow as twin
from fastbp.compat import miniflow as mf

RATE = 0.05


def close(ours, wanted, dtype=np.float64):
    ours, wanted = np.asarray(ours), np.asarray(wanted)
    assert ours.dtype == wanted.dtype
    assert ours.shape == wanted.shape
    scale = np.abs(wanted).max(initial=1e-300)
    np.testing.assert_allclose(ours, wanted, rtol=0,
                               atol=scale * (1e-12 if dtype == np.float64 else 1e-4))


class Regression:
    """The lesson's network on either module: X, y, two linear layers, a sigmoid, MSE."""

    def __init__(self, module, *, rows=11, dtype=np.float64, hidden=10, order="C"):
        rng = np.random.default_rng(3)
        self.module = module
        self.X, self.y, *weights = (module.Input() for _ in range(6))
        self.W1, self.b1, self.W2, self.b2 = self.trainables = weights
        self.l1 = module.Linear(self.X, self.W1, self.b1)
        self.s1 = module.Sigmoid(self.l1)
        self.l2 = module.Linear(self.s1, self.W2, self.b2)
        self.cost = module.MSE(self.y, self.l2)
        self.data = rng.normal(size=(40, 13)).astype(dtype), rng.normal(size=40).astype(dtype)
        shapes = (13, hidden), (hidden,), (hidden, 1), (1,)
        self.arrays = [np.array(rng.normal(size=shape), dtype, order=order) for shape in shapes]
        feed = {self.X: self.data[0][:rows], self.y: self.data[1][:rows]}
        self.graph = module.topological_sort(
            feed | dict(zip(self.trainables, self.arrays, strict=True)))

    def step(self, *batch):
        if batch:
            self.X.value, self.y.value = batch
        self.module.forward_and_backward(self.graph)
        self.module.sgd_update(self.trainables, RATE)

    def results(self):
        nodes = [self.X, self.y, *self.trainables, self.l1, self.s1, self.l2, self.cost]
        found = [node.value for node in nodes]
        for node in nodes:
            found += list(node.gradients.values())
        return [*found, self.cost.diff]


def pair(**settings):
    return Regression(mf, **settings), Regression(twin, **settings)


def same(ours, theirs, dtype=np.float64):
    for mine, wanted in zip(ours.results(), theirs.results(), strict=True):
        close(mine, wanted, dtype)


def with_square(module):
    class Square(module.Node):
        def __init__(self, node):
            module.Node.__init__(self, [node])

        def forward(self):
            self.value = self.inbound_nodes[0].value ** 2

        def backward(self):
            x = self.inbound_nodes[0]
            self.gradients = {x: sum(2 * x.value * n.gradients[self] for n in self.outbound_nodes)}

    class Leaky(module.Sigmoid):
        def forward(self):
            module.Sigmoid.forward(self)
            self.value = self.value + 0.01 * self.inbound_nodes[0].value

    net = Regression(module)
    square = Square(Leaky(net.l1))
    cost = module.MSE(net.y, module.Linear(square, net.W2, net.b2))
    for dead in (net.s1, net.cost):
        for source in dead.inbound_nodes:
            source.outbound_nodes.remove(dead)
    for source in net.l2.inbound_nodes[1:]:
        source.outbound_nodes.remove(net.l2)
    feed = {node: node.value for node in (net.X, net.y, *net.trainables)}
    return net, module.topological_sort(feed), cost
