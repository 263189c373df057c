"""A ``state_dict`` taken over into an optimizer, checked against its rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import listing
from thalweg.optim import Rule

__all__ = ["group_from", "refuse_layout", "state_from"]


def refuse_layout(rule: Rule, groups: list[dict[str, Any]], saved: list[Mapping[str, Any]]) -> None:
    """Raise ``ValueError`` unless the saved groups have as many members as the optimizer's."""
    mine, theirs = [len(group["params"]) for group in groups], [len(group["params"]) for group in saved]
    if mine != theirs:
        raise ValueError(
            f"{type(rule).__name__}: the state_dict has groups of {theirs} parameters, this optimizer has {mine}; "
            "build the optimizer over the same parameters, in the same groups and order, as the one that was saved."
        )


def group_from(rule: Rule, group: Mapping[str, Any], saved: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a saved group with the optimizer's parameters, and what only this rule knows from the rule."""
    decoupled = saved.get("decoupled_weight_decay")
    if rule.torch_class in ("Adam", "AdamW") and decoupled is not None and decoupled != (rule.torch_class == "AdamW"):
        other = "AdamW" if decoupled else "Adam"
        raise ValueError(
            f"{type(rule).__name__}: {where} of the state_dict was written by {other}, whose weight decay is another; "
            f"load it into {other}."
        )
    if "lr" not in saved:
        raise ValueError(
            f"{type(rule).__name__}: {where} of the state_dict has no 'lr' (it holds {listing(map(str, saved))}); "
            "pass what an optimizer's state_dict() returned."
        )
    filled = {**rule.hyper(), **saved, "params": group["params"]}
    if "param_names" in group:
        filled.setdefault("param_names", group["param_names"])
    return {
        name: tuple(value) if isinstance(value, list) and name in _TUPLES else value for name, value in filled.items()
    }


# JSON turns these into lists.
_TUPLES = ("betas", "eps", "ns_coefficients", "other_betas")


def state_from(rule: Rule, param: Tensor, saved: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Return the saved state of one parameter: copied, on its device, laid out like it, in the dtype it was saved in.

    Raises:
        ValueError: other entries or shapes than the rule keeps for this parameter.
    """
    if not saved:
        return {}
    wanted = rule.init(torch.empty_like(param, device="meta"))
    adopted = rule.adopt(saved, param)
    if adopted.keys() != wanted.keys():
        raise ValueError(
            f"{type(rule).__name__}: the state_dict holds {listing(map(str, saved))} for {name}, but this rule keeps "
            f"{listing(wanted)}; it was written by another rule, or with other settings: load it into that one."
        )
    return {key: _fitted(rule, param, key, adopted[key], wanted[key], name) for key in wanted}


def _fitted(rule: Rule, param: Tensor, key: str, value: Any, wanted: Tensor, name: str) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=wanted.dtype)
    if tensor.shape != wanted.shape:
        raise ValueError(
            f"{type(rule).__name__}: {key!r} of {name} has the shape {tuple(tensor.shape)} in the state_dict, but "
            f"{tuple(wanted.shape)} belongs to a parameter of shape {tuple(param.shape)}; "
            "it was saved from another model."
        )
    if wanted.device.type != "meta":  # a 0-dim counter, which lives on the host
        return tensor.detach().to(device="cpu", copy=True)
    if tensor.shape == param.shape:
        return torch.empty_like(param, dtype=tensor.dtype).copy_(tensor.detach())
    return tensor.detach().to(device=param.device, copy=True)
