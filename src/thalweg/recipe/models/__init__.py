"""The models that a recipe knows by name: small, plain modules, one file each."""

from .convnet import ConvNet
from .linear import LinearModel
from .mlp import MLP

__all__ = ["MLP", "ConvNet", "LinearModel"]
