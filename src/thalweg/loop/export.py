"""A checkpoint in the forms that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from thalweg.checkpoint import write_whole

from .state import read_checkpoint

__all__ = ["export"]


def export(path: Path | str, folder: Path | str) -> Path:
    """Write ``model.safetensors`` and ``optimizer.pt`` of the newest checkpoint under *path* into *folder*.

    ``optimizer.pt`` is a ``torch.optim`` state dict (``state`` and ``param_groups`` in torch's layout), which
    ``torch.load(..., weights_only=True)`` reads and the ``load_state_dict`` of torch's class of the rule takes, for an
    optimizer with the same groups.

    Args:
        path: a run directory or a checkpoint.
        folder: where; it is made, and must hold neither file yet.

    Raises:
        ValueError: there is no whole checkpoint, or the files are there already.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    tree = read_checkpoint(Path(path))
    there = [name for name in ("model.safetensors", "optimizer.pt") if (folder / name).exists()]
    if there:
        raise ValueError(
            f"export: {folder} holds {' and '.join(there)} already, which are never overwritten; name another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    model = {name: tensor.contiguous().clone() for name, tensor in tree["model"].items()}
    optimizer: dict[str, Any] = tree["optimizer"]
    write_whole(folder / "model.safetensors", lambda temporary: save_file(model, temporary))
    write_whole(folder / "optimizer.pt", lambda temporary: torch.save(optimizer, temporary))
    return folder
