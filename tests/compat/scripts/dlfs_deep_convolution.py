"""Several convolutions, dropout and the Trainer with Adam, in the style of chapter 8."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.layers import *
from common.trainer import Trainer


class DeepConvNet:
    def __init__(self, channels=(1, 4, 4, 6), hidden_size=20, output_size=10):
        self.params = {}
        for i in range(3):
            scale = np.sqrt(2.0 / (channels[i] * 9))
            self.params[f"W{i + 1}"] = scale * np.random.randn(channels[i + 1], channels[i], 3, 3)
            self.params[f"b{i + 1}"] = np.zeros(channels[i + 1])
        self.params["W4"] = np.sqrt(2.0 / 96) * np.random.randn(96, hidden_size)
        self.params["b4"] = np.zeros(hidden_size)
        self.params["W5"] = np.sqrt(2.0 / hidden_size) * np.random.randn(hidden_size, output_size)
        self.params["b5"] = np.zeros(output_size)
        p = self.params
        self.layers = [
            Convolution(p["W1"], p["b1"], stride=1, pad=1), Relu(),
            Convolution(p["W2"], p["b2"], stride=1, pad=1), Relu(),
            Pooling(pool_h=2, pool_w=2, stride=2),
            Convolution(p["W3"], p["b3"], stride=1, pad=2), Relu(),
            Pooling(pool_h=2, pool_w=2, stride=2),
            Affine(p["W4"], p["b4"]), Relu(), Dropout(0.5), Affine(p["W5"], p["b5"]), Dropout(0.5)]
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x, train_flg=False):
        for layer in self.layers:
            if isinstance(layer, Dropout):
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x, train_flg=True), t)

    def accuracy(self, x, t, batch_size=50):
        if t.ndim != 1:
            t = np.argmax(t, axis=1)
        acc = 0.0
        for i in range(int(x.shape[0] / batch_size)):
            y = self.predict(x[i * batch_size : (i + 1) * batch_size])
            acc += np.sum(np.argmax(y, axis=1) == t[i * batch_size : (i + 1) * batch_size])
        return acc / x.shape[0]

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        grads = {}
        for i, place in enumerate((0, 2, 5, 8, 11), 1):
            grads[f"W{i}"], grads[f"b{i}"] = self.layers[place].dW, self.layers[place].db
        return grads


np.random.seed(5)
x_train = np.random.rand(150, 1, 12, 12).astype(np.float32)
t_train = np.argmax(x_train.reshape(150, -1) @ np.random.randn(144, 10), axis=1)
network = DeepConvNet()
trainer = Trainer(network, x_train, t_train, x_train[:50], t_train[:50], epochs=6,
                  mini_batch_size=30, optimizer="Adam", optimizer_param={"lr": 0.001},
                  evaluate_sample_num_per_epoch=50, verbose=False)
trainer.train()
train_loss_list = trainer.train_loss_list
train_acc_list = trainer.train_acc_list + trainer.test_acc_list
