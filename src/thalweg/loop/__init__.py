"""Training: plan, groups, rates, history, hooks, and the loop itself."""

from .close_epoch import flush
from .compiled import PAYS_AFTER, CompiledStep
from .evaluate import eval_mode, evaluate, predict
from .files import RunDirectory, environment
from .fit import fit
from .groups import GroupRow, LayerGroup, build_groups, norm_parameters
from .history import History, Smoother
from .hooks import EarlyStopping, Hook
from .plan import Plan, Span, make_plan, memory
from .precision import Precision
from .rates import Rates
from .recorder import Recorder
from .run import Run
from .settings import Every, Settings
from .state import check_model, read_checkpoint, restore, save_checkpoint
from .step import EagerStep

__all__ = [
    "PAYS_AFTER",
    "CompiledStep",
    "EagerStep",
    "EarlyStopping",
    "Every",
    "GroupRow",
    "History",
    "Hook",
    "LayerGroup",
    "Plan",
    "Precision",
    "Rates",
    "Recorder",
    "Run",
    "RunDirectory",
    "Settings",
    "Smoother",
    "Span",
    "build_groups",
    "check_model",
    "environment",
    "eval_mode",
    "evaluate",
    "fit",
    "flush",
    "make_plan",
    "memory",
    "norm_parameters",
    "predict",
    "read_checkpoint",
    "restore",
    "save_checkpoint",
]
