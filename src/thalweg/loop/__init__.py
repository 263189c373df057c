"""Training: plan, groups, rates, history, hooks, and the loop itself."""

from .checkpoints import Checkpoints
from .close_epoch import flush
from .compiled import PAYS_AFTER, CompiledStep
from .device_latch import DeviceLatch
from .evaluate import eval_mode, evaluate, predict
from .export import export
from .files import NoDirectory, RunDirectory, environment
from .fit import fit
from .groups import GroupRow, LayerGroup, build_groups, norm_parameters
from .guard import Guard
from .history import History, Smoother
from .hooks import EarlyStopping, Hook
from .host_latch import HostLatch
from .latch import Latch
from .loggers import LOGGERS, check_loggers
from .plan import Plan, Span, make_plan, memory
from .precision import Precision
from .prepare import describe, example_rows, prepare_loss, vocabulary_of
from .processes import Processes, check_sharded, is_first, shared
from .rank_step import RankStep
from .rates import Rates
from .recorder import Recorder
from .run import Run
from .settings import CHANGES, Cadence, Every, Settings
from .spread import check_unshared, spread, spreading
from .state import check_model, read_checkpoint, restore
from .step import EagerStep
from .watch import Watch

__all__ = [
    "CHANGES",
    "LOGGERS",
    "PAYS_AFTER",
    "Cadence",
    "Checkpoints",
    "CompiledStep",
    "DeviceLatch",
    "EagerStep",
    "EarlyStopping",
    "Every",
    "GroupRow",
    "Guard",
    "History",
    "Hook",
    "HostLatch",
    "Latch",
    "LayerGroup",
    "NoDirectory",
    "Plan",
    "Precision",
    "Processes",
    "RankStep",
    "Rates",
    "Recorder",
    "Run",
    "RunDirectory",
    "Settings",
    "Smoother",
    "Span",
    "Watch",
    "build_groups",
    "check_loggers",
    "check_model",
    "check_sharded",
    "check_unshared",
    "describe",
    "environment",
    "eval_mode",
    "evaluate",
    "example_rows",
    "export",
    "fit",
    "flush",
    "is_first",
    "make_plan",
    "memory",
    "norm_parameters",
    "predict",
    "prepare_loss",
    "read_checkpoint",
    "restore",
    "shared",
    "spread",
    "spreading",
    "vocabulary_of",
]
