"""Train fastbp.sklearn.MLPClassifier on the bundled digits and draw its loss curves.

    python examples/sklearn_digits.py            # writes sklearn_digits.png

Needs the extras "sklearn" and "plot": pip install "fastbp[sklearn,plot]"
"""

from __future__ import annotations

import sys
import warnings

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastbp import schedules
from fastbp.datasets import load_digits
from fastbp.sklearn import MLPClassifier

EPOCHS = 40
MODELS = {
    "scikit-learn's defaults": {},
    "sgd, adaptive rate": {"solver": "sgd", "learning_rate": "adaptive",
                           "learning_rate_init": 0.1},
    "dropout, one-cycle schedule": {"dropout": 0.2, "learning_rate_init": 0.01,
                                    "schedule": schedules.OneCycle()},
    "batch norm, GELU": {"batch_norm": True, "activation": "gelu"},
}  # fmt: skip


def main(path: str) -> None:
    """Fit each model and draw its training and validation loss into one picture."""
    x, y = load_digits()
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.25, stratify=y,
                                                      random_state=0)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for name, settings in MODELS.items():
        model = MLPClassifier(batch_size=32, max_iter=EPOCHS, random_state=0, **settings)
        model.fit(x_train, y_train, X_val=x_val, y_val=y_val)
        accuracy = model.score(x_val, y_val)
        print(f"{name:28} validation accuracy {accuracy:.3f}")
        axes[0].plot(model.loss_curve_, label=name)
        axes[1].plot(model.validation_loss_curve_, label=f"{name}: {accuracy:.1%}")
    for panel, title in zip(axes, ("training loss", "validation loss"), strict=True):
        panel.set(title=title, xlabel="epoch", yscale="log")
        panel.legend(fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
    main(sys.argv[1] if len(sys.argv) > 1 else "sklearn_digits.png")
