"""Six optimizers on a function of two numbers and on a network, in the style of chapter 6."""

import os
import sys

sys.path.append(os.pardir)
from collections import OrderedDict

from common.multi_layer_net import MultiLayerNet
from common.optimizer import *
from common.util import smooth_curve

RULES = OrderedDict()
RULES["SGD"] = SGD(lr=0.95)
RULES["Momentum"] = Momentum(lr=0.1)
RULES["AdaGrad"] = AdaGrad(lr=1.5)
RULES["Adam"] = Adam(lr=0.3)

paths = {}
for name, rule in RULES.items():
    params = {"x": -7.0, "y": 2.0}
    paths[name] = []
    for _ in range(30):
        paths[name].append((params["x"], params["y"]))
        rule.update(params, {"x": params["x"] / 10.0, "y": 2.0 * params["y"]})

np.random.seed(2)
x_train = np.random.randn(500, 64).astype(np.float32)
t_train = np.argmax(x_train @ np.random.randn(64, 10), axis=1)
train_loss_list = []
for rule in (SGD(), Momentum(), Nesterov(), AdaGrad(), RMSprop(lr=0.001), Adam()):
    network = MultiLayerNet(64, [50, 50, 50, 50], 10, weight_decay_lambda=0.1)
    losses = []
    for _ in range(30):
        chosen = np.random.choice(len(x_train), 70)
        grads = network.gradient(x_train[chosen], t_train[chosen])
        rule.update(network.params, grads)
        losses.append(network.loss(x_train[chosen], t_train[chosen]))
    train_loss_list += losses
    train_loss_list += list(smooth_curve(losses))
