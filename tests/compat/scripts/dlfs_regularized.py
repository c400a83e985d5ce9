"""BatchNormalization, Dropout, weight decay and the Trainer, in the style of chapter 6."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.trainer import Trainer
from common.util import shuffle_dataset

np.random.seed(3)
x = np.random.randn(400, 50).astype(np.float32)
t = np.argmax(x @ np.random.randn(50, 10), axis=1)
x, t = shuffle_dataset(x, t)
x_train, t_train, x_test, t_test = x[:300], t[:300], x[300:], np.eye(10)[t[300:]]

train_loss_list, train_acc_list = [], []
for settings in ({"use_batchnorm": True}, {"use_dropout": True, "dropout_ration": 0.2},
                 {"use_batchnorm": True, "use_dropout": True, "activation": "sigmoid",
                  "weight_init_std": "xavier", "weight_decay_lambda": 0.01}):
    network = MultiLayerNetExtend(input_size=50, hidden_size_list=[50, 60, 40], output_size=10,
                                  **settings)
    trainer = Trainer(network, x_train, t_train, x_test, t_test, epochs=10, mini_batch_size=75,
                      optimizer="Adam", optimizer_param={"lr": 0.01}, verbose=False,
                      evaluate_sample_num_per_epoch=80)
    trainer.train()
    train_loss_list += trainer.train_loss_list
    train_acc_list += trainer.train_acc_list + trainer.test_acc_list
