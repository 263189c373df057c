"""Losses as (sum, weight), and penalties on the parameters."""

from thalweg.loss.activation import Activation, activate
from thalweg.loss.adapt import adapt
from thalweg.loss.binary_cross_entropy import BinaryCrossEntropy
from thalweg.loss.class_targets import ClassLoss
from thalweg.loss.cross_entropy import CrossEntropy
from thalweg.loss.custom import Custom
from thalweg.loss.distillation import Distillation
from thalweg.loss.elementwise import Elementwise
from thalweg.loss.focal import Focal
from thalweg.loss.huber import Huber
from thalweg.loss.linear_kernel import bind_vocabulary
from thalweg.loss.linear_losses import linear_cross_entropy, linear_distillation, linear_focal
from thalweg.loss.loss import Loss
from thalweg.loss.mae import MAE
from thalweg.loss.mse import MSE
from thalweg.loss.names import ALIASES, NAMES, PENALTIES, from_dict, make, make_penalty, to_dict
from thalweg.loss.nll import NLL
from thalweg.loss.notices import ends_in_sigmoid, looks_like_probabilities
from thalweg.loss.penalty import L1, L2, Penalty
from thalweg.loss.projected import Projected
from thalweg.loss.token_batch import scores_of
from thalweg.loss.token_cross_entropy import TokenCrossEntropy
from thalweg.loss.token_loss import TokenLoss
from thalweg.loss.token_statistics import TokenStatistics, linear_token_statistics
from thalweg.loss.torch_module import TorchLoss
from thalweg.loss.total import Total

__all__ = [
    "ALIASES",
    "L1",
    "L2",
    "MAE",
    "MSE",
    "NAMES",
    "NLL",
    "PENALTIES",
    "Activation",
    "BinaryCrossEntropy",
    "ClassLoss",
    "CrossEntropy",
    "Custom",
    "Distillation",
    "Elementwise",
    "Focal",
    "Huber",
    "Loss",
    "Penalty",
    "Projected",
    "TokenCrossEntropy",
    "TokenLoss",
    "TokenStatistics",
    "TorchLoss",
    "Total",
    "activate",
    "adapt",
    "bind_vocabulary",
    "ends_in_sigmoid",
    "from_dict",
    "linear_cross_entropy",
    "linear_distillation",
    "linear_focal",
    "linear_token_statistics",
    "looks_like_probabilities",
    "make",
    "make_penalty",
    "scores_of",
    "to_dict",
]
