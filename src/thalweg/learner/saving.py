"""A learner on disk: its weights alone, or all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thalweg.checkpoint import flatten, latest, load, save, unflatten, write_whole
from thalweg.loop import History, check_model

from .held import Held
from .layers import adopt_layers

__all__ = ["load_into", "save_learner"]


def save_learner(learner: Held, path: Path) -> Path:
    """Write ``path`` (``*.safetensors``: weights by name; otherwise a checkpoint folder), whole or not at all."""
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in learner.module.state_dict().items()}
        write_whole(path, lambda temporary: save_file(tensors, temporary))
        return path
    arrays, history = learner.history.state()
    state = {
        "model": dict(learner.module.state_dict()),
        "trainable": {name: param.requires_grad for name, param in learner.module.named_parameters()},
        "optimizer": learner.optimizer.state_dict(),
        "optimizer_name": repr(learner.rule or type(learner.optimizer).__name__),
        "bases": learner.bases,
        "fits": learner.fits,
        "statistics": learner.statistics,
        "history": {"arrays": arrays, "plain": history},
    }
    return save(path, *flatten(state))


def load_into(learner: Held, path: Path) -> None:
    """Load a weights file, a saved learner, or the newest checkpoint of a run into *learner*.

    Raises:
        ValueError: nothing is there, it is damaged, or it is of another model or rule.
    """
    if path.suffix == ".safetensors" or path.is_file():
        learner.module.load_state_dict(_read_weights(learner, path))
        learner.statistics = {}
        return
    tensors, plain = load(latest(path))
    state: dict[str, Any] = unflatten(tensors, plain)
    check_model(learner.module, state["model"], f"load {path}")
    mine = repr(learner.rule or type(learner.optimizer).__name__)
    if state["optimizer_name"].split("(")[0] != mine.split("(")[0]:
        raise ValueError(
            f"load {path}: it was saved with {state['optimizer_name']}, this learner has {mine}; build the learner "
            "with the same optimizer, or save and load the weights alone (a .safetensors file)."
        )
    learner.module.load_state_dict(state["model"])
    for name, param in learner.module.named_parameters():
        param.requires_grad_(bool(state["trainable"].get(name, param.requires_grad)))
    adopt_layers(learner, state["optimizer"]["param_groups"])
    learner.optimizer.load_state_dict(state["optimizer"])
    history = state["history"]
    learner.history = History.load(history["arrays"], history["plain"])
    learner.fits = int(state.get("fits", learner.fits))
    learner.statistics = dict(state.get("statistics", {}))
    if "bases" in state:
        learner.bases = state["bases"]


def _read_weights(learner: Held, path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"load {path}: there is no such file; give a .safetensors file or a checkpoint folder.")
    try:
        tensors: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"load {path}: cannot be read ({error}); the file is damaged or not safetensors.") from error
    check_model(learner.module, tensors, f"load {path}")
    return tensors
