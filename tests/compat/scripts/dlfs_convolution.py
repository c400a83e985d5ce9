"""A network with one convolution, in the style of chapter 7: trained, checked, stored, read."""

import os
import pickle
import sys
import tempfile

sys.path.append(os.pardir)
from collections import OrderedDict

from common.gradient import numerical_gradient
from common.layers import *


class SimpleConvNet:
    def __init__(self, input_dim, conv_param, hidden_size, output_size, weight_init_std=0.01):
        filters, size = conv_param["filter_num"], conv_param["filter_size"]
        pad, stride = conv_param["pad"], conv_param["stride"]
        out = (input_dim[1] - size + 2 * pad) / stride + 1
        pooled = int(filters * (out / 2) * (out / 2))
        self.params = {}
        self.params["W1"] = weight_init_std * np.random.randn(filters, input_dim[0], size, size)
        self.params["b1"] = np.zeros(filters)
        self.params["W2"] = weight_init_std * np.random.randn(pooled, hidden_size)
        self.params["b2"] = np.zeros(hidden_size)
        self.params["W3"] = weight_init_std * np.random.randn(hidden_size, output_size)
        self.params["b3"] = np.zeros(output_size)
        self.layers = OrderedDict()
        self.layers["Conv1"] = Convolution(self.params["W1"], self.params["b1"], stride, pad)
        self.layers["Relu1"] = Relu()
        self.layers["Pool1"] = Pooling(pool_h=2, pool_w=2, stride=2)
        self.layers["Affine1"] = Affine(self.params["W2"], self.params["b2"])
        self.layers["Relu2"] = Relu()
        self.layers["Affine2"] = Affine(self.params["W3"], self.params["b3"])
        self.last_layer = SoftmaxWithLoss()

    def loss(self, x, t):
        for layer in self.layers.values():
            x = layer.forward(x)
        return self.last_layer.forward(x, t)

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
        grads = {}
        for number, name in enumerate(("Conv1", "Affine1", "Affine2"), 1):
            grads[f"W{number}"] = self.layers[name].dW
            grads[f"b{number}"] = self.layers[name].db
        return grads

    def save_params(self, file_name):
        with open(file_name, "wb") as file:
            pickle.dump(dict(self.params), file)

    def load_params(self, file_name):
        with open(file_name, "rb") as file:
            params = pickle.load(file)
        self.params.update(params)
        for number, name in enumerate(("Conv1", "Affine1", "Affine2"), 1):
            self.layers[name].W = self.params[f"W{number}"]
            self.layers[name].b = self.params[f"b{number}"]


np.random.seed(4)
conv_param = {"filter_num": 10, "filter_size": 3, "pad": 0, "stride": 1}

tiny = SimpleConvNet((1, 6, 6), conv_param, hidden_size=4, output_size=10)
one, label = np.random.rand(1, 1, 6, 6), np.array([[1]])
numerical = tiny.numerical_gradient(one, label)
analytic = tiny.gradient(one, label)
gradient_errors = {name: float(np.mean(np.abs(analytic[name] - numerical[name])))
                   for name in numerical}

x_train = np.random.rand(300, 1, 14, 14).astype(np.float32)
t_train = np.argmax(x_train.reshape(300, -1) @ np.random.randn(196, 10), axis=1)
network = SimpleConvNet((1, 14, 14), conv_param, hidden_size=30, output_size=10)
train_loss_list = []
for _ in range(40):
    batch_mask = np.random.choice(len(x_train), 50)
    grads = network.gradient(x_train[batch_mask], t_train[batch_mask])
    for key, value in network.params.items():
        value -= 0.1 * grads[key]
    train_loss_list.append(network.loss(x_train[batch_mask], t_train[batch_mask]))

other = SimpleConvNet((1, 14, 14), conv_param, hidden_size=30, output_size=10)
with tempfile.TemporaryDirectory() as folder:
    network.save_params(os.path.join(folder, "params.pkl"))
    other.load_params(os.path.join(folder, "params.pkl"))
train_loss_list.append(other.loss(x_train, t_train))
