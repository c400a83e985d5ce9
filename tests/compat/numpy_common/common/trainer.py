import numpy as np

from common import optimizer as optimizers


class Trainer:
    def __init__(self, network, x_train, t_train, x_test, t_test, epochs=20, mini_batch_size=100,
                 optimizer="SGD", optimizer_param=None, evaluate_sample_num_per_epoch=None,
                 verbose=True):
        names = {"sgd": "SGD", "adam": "Adam", "momentum": "Momentum", "adagrad": "AdaGrad"}
        rule = getattr(optimizers, names[optimizer.lower()])
        self.optimizer = rule(**(optimizer_param or {"lr": 0.01}))
        self.network, self.batch_size, self.verbose = network, mini_batch_size, verbose
        self.train, self.count = self.run, evaluate_sample_num_per_epoch
        self.data = x_train, t_train, x_test, t_test
        self.steps_per_epoch = max(len(x_train) / mini_batch_size, 1)
        self.steps = int(epochs * self.steps_per_epoch)
        self.train_loss_list, self.train_acc_list, self.test_acc_list = [], [], []

    def run(self):
        x_train, t_train, x_test, t_test = self.data
        for step in range(self.steps):
            chosen = np.random.choice(len(x_train), self.batch_size)
            x, t = x_train[chosen], t_train[chosen]
            self.optimizer.update(self.network.params, self.network.gradient(x, t))
            self.train_loss_list.append(self.network.loss(x, t))
            if self.verbose:
                print(self.train_loss_list[-1])
            if step % self.steps_per_epoch == 0:
                n = self.count
                self.train_acc_list.append(self.network.accuracy(x_train[:n], t_train[:n]))
                self.test_acc_list.append(self.network.accuracy(x_test[:n], t_test[:n]))
