"""`MLPClassifier` and `MLPRegressor` in scikit-learn's place, on fastbp's compiled programs.

Constructor, attributes, methods, random stream, warnings and errors are scikit-learn's; parameters
that it does not have are off by default. docs/sklearn.md says what is the same, what is added and
what differs.

    from fastbp.sklearn import MLPClassifier

`from_sklearn` and the estimators' `to_sklearn` convert fitted models; `patch` puts the classes into
`sklearn.neural_network` for code that cannot be edited. Needs scikit-learn 1.5 or later (the extra
"sklearn").
"""

try:
    import sklearn as _sklearn  # noqa: F401 - only to say what is missing
except ImportError as error:
    raise ImportError(
        "fastbp.sklearn needs scikit-learn; wanted version 1.5 or later; "
        "pip install 'fastbp[sklearn]'"
    ) from error

from fastbp.sklearn._classifier import MLPClassifier
from fastbp.sklearn._convert import from_sklearn
from fastbp.sklearn._patch import patch
from fastbp.sklearn._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn", "patch"]
