"""A script in the style of the book's; runs on any modules called `network` and `network2`."""
# ruff: noqa: NPY002 - the book draws from the global generators

import random

import network
import network2
import numpy as np

np.random.seed(1)
random.seed(1)
centers = np.random.rand(10, 49)
labels = np.random.randint(0, 10, 130)
images = (0.9 * centers[labels] + 0.3 * np.random.rand(130, 49)).astype(np.float32)
columns = [image.reshape(49, 1) for image in images]
training_data = [(x, network2.vectorized_result(y))
                 for x, y in zip(columns[:100], labels[:100], strict=True)]
test_data = list(zip(columns[100:], labels[100:], strict=True))

net = network.Network([49, 20, 10])
net.SGD(training_data, 15, 10, 3.0, test_data=test_data)

net2 = network2.Network([49, 15, 10], cost=network2.CrossEntropyCost)
costs = net2.SGD(training_data, 6, 7, 0.5, lmbda=0.1, evaluation_data=test_data,
                 monitor_evaluation_accuracy=True, monitor_evaluation_cost=True,
                 monitor_training_accuracy=True, monitor_training_cost=True)
