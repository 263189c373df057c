"""The models that a recipe knows by name: small, plain modules, one file each."""

from .convnet import ConvNet
from .decoder import Decoder
from .encoder_decoder import EncoderDecoder
from .linear import LinearModel
from .mlp import MLP

__all__ = ["MLP", "ConvNet", "Decoder", "EncoderDecoder", "LinearModel"]
