"""A two-layer network trained by hand: layers, layer_utils and one update rule."""

# ruff: noqa: F403, F405 - in the style of the course: np comes with the star
from cs231n.layer_utils import *
from cs231n.layers import *
from cs231n.optim import sgd_momentum

np.random.seed(231)
N, D, H, C = 40, 12, 30, 5
X = np.random.randn(N, 3, 2, 2)
y = np.random.randint(C, size=N)
params = {"W1": 0.1 * np.random.randn(D, H), "b1": np.zeros(H),
          "W2": 0.1 * np.random.randn(H, C), "b2": np.zeros(C)}
configs = {name: {"learning_rate": 0.05} for name in params}
reg = 1e-3
losses = []
for _ in range(30):
    hidden, cache1 = affine_relu_forward(X, params["W1"], params["b1"])
    kept, drop = dropout_forward(hidden, {"mode": "train", "p": 0.8, "seed": 7})
    scores, cache2 = affine_forward(kept, params["W2"], params["b2"])
    loss, dscores = softmax_loss(scores, y)
    grads = {}
    dkept, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
    dhidden = dropout_backward(dkept, drop)
    dx, grads["W1"], grads["b1"] = affine_relu_backward(dhidden, cache1)
    for name in ("W1", "W2"):
        loss += 0.5 * reg * np.sum(params[name] ** 2)
        grads[name] += reg * params[name]
    for name, w in params.items():
        params[name], configs[name] = sgd_momentum(w, grads[name], configs[name])
    losses.append(loss)
assert dx.shape == X.shape
