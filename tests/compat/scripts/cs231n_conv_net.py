"""A convolutional network: ThreeLayerConvNet with Solver, then one layer with BatchNorm by hand."""

# ruff: noqa: F403, F405 - in the style of the course
from cs231n.classifiers.cnn import *
from cs231n.layer_utils import conv_relu_forward, conv_relu_pool_backward, conv_relu_pool_forward
from cs231n.layers import *
from cs231n.solver import Solver

np.random.seed(231)
labels = np.random.randint(3, size=60)
images = np.random.randn(3, 2, 8, 8)[labels] + 0.5 * np.random.randn(60, 2, 8, 8)
data = {"X_train": images[:40], "y_train": labels[:40],
        "X_val": images[40:], "y_val": labels[40:]}
model = ThreeLayerConvNet(input_dim=(2, 8, 8), num_filters=4, filter_size=3, hidden_dim=20,
                          num_classes=3, weight_scale=0.1, reg=1e-3, dtype=np.float64)
solver = Solver(model, data, update_rule="adam", optim_config={"learning_rate": 2e-3},
                num_epochs=3, batch_size=10, verbose=False)
solver.train()
losses = list(solver.loss_history)
accuracies = solver.val_acc_history

w, b, gamma, beta = 0.3 * np.random.randn(5, 2, 3, 3), np.zeros(5), np.ones(5), np.zeros(5)
conv_param = {"stride": 1, "pad": 1}
pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
bn_param = {"mode": "train"}
for _ in range(5):
    out, cache = conv_relu_pool_forward(images[:10], w, b, conv_param, pool_param)
    normalised, bn_cache = spatial_batchnorm_forward(out, gamma, beta, bn_param)
    losses.append(0.5 * np.sum(normalised**2 * out) / 10)
    dout, dgamma, dbeta = spatial_batchnorm_backward(normalised * out / 10, bn_cache)
    _, dw, db = conv_relu_pool_backward(dout + 0.05 * normalised**2, cache)
    w -= 0.01 * dw
    b -= 0.01 * db
    gamma -= 0.01 * dgamma
out, _ = conv_relu_forward(images[:2], w, b, {"stride": 2, "pad": 0})
losses.append(out.sum())
