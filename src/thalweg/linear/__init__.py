"""Linear models: least squares and logistic regression, in memory or from a stream, with scikit-learn's contract."""

from .accuracy import Accuracy, AccuracyWarning
from .least_squares import LeastSquares
from .logistic_regression import LogisticRegression
from .path import Path

__all__ = ["Accuracy", "AccuracyWarning", "LeastSquares", "LogisticRegression", "Path"]
