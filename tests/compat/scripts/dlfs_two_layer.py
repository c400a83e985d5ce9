"""A two-layer network trained by hand, in the style of the book's chapter 5."""

import os
import sys

sys.path.append(os.pardir)
from collections import OrderedDict

from common.gradient import numerical_gradient
from common.layers import *


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        self.params = {}
        self.params["W1"] = weight_init_std * np.random.randn(input_size, hidden_size)
        self.params["b1"] = np.zeros(hidden_size)
        self.params["W2"] = weight_init_std * np.random.randn(hidden_size, output_size)
        self.params["b2"] = np.zeros(output_size)
        self.layers = OrderedDict()
        self.layers["Affine1"] = Affine(self.params["W1"], self.params["b1"])
        self.layers["Relu1"] = Relu()
        self.layers["Affine2"] = Affine(self.params["W2"], self.params["b2"])
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def accuracy(self, x, t):
        return np.sum(np.argmax(self.predict(x), axis=1) == np.argmax(t, axis=1)) / len(x)

    def numerical_gradient(self, x, t):
        return {name: numerical_gradient(lambda _: self.loss(x, t), self.params[name])
                for name in self.params}

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        layers = list(self.layers.values())
        layers.reverse()
        for layer in layers:
            dout = layer.backward(dout)
        return {"W1": self.layers["Affine1"].dW, "b1": self.layers["Affine1"].db,
                "W2": self.layers["Affine2"].dW, "b2": self.layers["Affine2"].db}


np.random.seed(1)
x_train = np.random.rand(600, 784).astype(np.float32)
t_train = np.eye(10)[np.argmax(x_train @ np.random.randn(784, 10), axis=1)]

small = TwoLayerNet(4, 3, 10)
numerical = small.numerical_gradient(x_train[:3, :4].astype(float), t_train[:3])
analytic = small.gradient(x_train[:3, :4].astype(float), t_train[:3])
gradient_errors = {name: float(np.average(np.abs(analytic[name] - numerical[name])))
                   for name in numerical}

network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10)
learning_rate = 0.1
train_loss_list, train_acc_list = [], []
for i in range(40):
    batch_mask = np.random.choice(len(x_train), 100)
    x_batch, t_batch = x_train[batch_mask], t_train[batch_mask]
    grad = network.gradient(x_batch, t_batch)
    for key in ("W1", "b1", "W2", "b2"):
        network.params[key] -= learning_rate * grad[key]
    train_loss_list.append(network.loss(x_batch, t_batch))
    if i % 20 == 0:
        train_acc_list.append(network.accuracy(x_train, t_train))
