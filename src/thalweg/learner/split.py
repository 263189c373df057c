"""A model's parts, from the input to the head: by structure, or as a user says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from thalweg.errors import did_you_mean, listing
from thalweg.loop import LayerGroup, norm_parameters

from .replace_head import last_layer

__all__ = ["LABELS", "Split", "by_structure", "split_model"]

LABELS = ("lower", "upper", "head")

Split = Callable[[nn.Module], Sequence[Any]] | Sequence[Any]

_NEAR = (0.3, 0.7)  # the cut of the body is sought here, as a share of its layers


def split_model(model: nn.Module, split: Split | None = None) -> list[LayerGroup]:
    """Return the model's layer groups, lowest first; every parameter is in exactly one.

    Args:
        model: its ``named_parameters()``, tied ones once.
        split: None for :func:`by_structure`; otherwise the groups, or a function of the model that returns them. A
            group is a module, a prefix of parameter names (``"layer4"``), a parameter, or a list of these.

    Raises:
        ValueError: a parameter is in no group or in two, a group is empty, or a prefix matches nothing.
        TypeError: a group is none of the above.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> [(group.label, group.names) for group in split_model(model)]
    [('lower', ('0.weight', '0.bias')), ('upper', ('2.weight', '2.bias')), ('head', ('4.weight', '4.bias'))]
    >>> [group.label for group in split_model(model, [["0", "2"], "4"])]
    ['0, 2', '4']
    """
    if split is None:
        return by_structure(model)
    parts = split(model) if callable(split) and not isinstance(split, nn.Module) else split
    if isinstance(parts, (str, nn.Module, Tensor)) or not isinstance(parts, Sequence):
        raise TypeError(
            f"split_layers: the split is a {type(parts).__name__}; pass a list of groups, lowest first, or a function "
            "of the model that returns one."
        )
    place: dict[str, int] = {}
    labels: list[str] = []
    for index, part in enumerate(parts):
        names, label = _names_of(model, part, index)
        for name in names:
            if place.setdefault(name, index) != index:
                raise ValueError(
                    f"split_layers: {name} is in group {place[name]} and in group {index}; let it be in one."
                )
        labels.append(label if label and label not in labels else f"group {index}")
    named = dict(model.named_parameters())
    missing = [name for name in named if name not in place]
    if missing:
        raise ValueError(
            f"split_layers: {len(missing)} parameters are in no group: {', '.join(missing[:4])}"
            f"{', …' if len(missing) > 4 else ''}; every parameter needs one."
        )
    groups = []
    for index, label in enumerate(labels):
        members = tuple(name for name in named if place[name] == index)
        if not members:
            raise ValueError(f"split_layers: group {index} ({label}) holds no parameters; leave it out.")
        groups.append(LayerGroup(label, members))
    return groups


def by_structure(model: nn.Module) -> list[LayerGroup]:
    """Return lower half of the body, upper half of the body and head; fewer groups where the model has fewer layers.

    The head is the last linear layer (:func:`thalweg.replace_head` finds it the same way). The body's layers, in the
    order of their modules, are cut near the middle, between two blocks rather than inside one: of the places between
    30 % and 70 % the one highest up in the tree of modules, then the one nearest to the middle. A norm layer stays with
    the layer in front of it.
    """
    named = dict(model.named_parameters())
    head = _head_names(model, named)
    units: list[tuple[str, list[str]]] = []  # (path of the module, its own parameters)
    for name in named:
        path = name.rpartition(".")[0]
        if name in head:
            continue
        if not units or units[-1][0] != path:
            units.append((path, []))
        units[-1][1].append(name)
    cut = _cut(units, norm_parameters(model))
    lower = tuple(name for _, names in units[:cut] for name in names)
    upper = tuple(name for _, names in units[cut:] for name in names)
    groups = zip(LABELS, (lower, upper, tuple(head)), strict=True)
    return [LayerGroup(label, names) for label, names in groups if names]


def _head_names(model: nn.Module, named: Iterable[str]) -> list[str]:
    path = last_layer(model)
    names = list(named)
    if path is None:
        path = names[-1].rpartition(".")[0]
    # A head of two layers (a Sequential of its own, put in by replace_head) is one head.
    above = path.rpartition(".")[0]
    if above and type(model.get_submodule(above)).__name__ == "Head":
        path = above
    return [name for name in names if name.startswith(f"{path}.")] if path else names


def _cut(units: Sequence[tuple[str, list[str]]], norms: set[str]) -> int:
    """Return before which unit the body is cut."""
    count = len(units)
    if count < 2:
        return 0
    near = [i for i in range(1, count) if _NEAR[0] * count <= i <= _NEAR[1] * count] or [count // 2]

    def cost(index: int) -> tuple[int, bool, float]:
        before, after = (units[i][0].split(".") for i in (index - 1, index))
        common = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
        beside = before[:-1] == after[:-1] and units[index][1][0] in norms
        return (common + beside, beside, abs(index - count / 2))

    return min(near, key=cost)


def _names_of(model: nn.Module, part: Any, index: int) -> tuple[list[str], str]:
    """Return the parameter names of a group as given, and a label for it where it was given by name."""
    items = list(part) if isinstance(part, (list, tuple, set)) or hasattr(part, "__next__") else [part]
    names: list[str] = []
    words: list[str] = []
    by_id = {id(param): name for name, param in model.named_parameters()}
    paths = {id(module): path for path, module in model.named_modules()}
    for item in items:
        if isinstance(item, str):
            found = [name for name in by_id.values() if name == item or name.startswith(f"{item}.")]
            if not found:
                known = [path for path, _ in model.named_children()]
                raise ValueError(
                    f"split_layers: the prefix {item!r} matches no parameter.{did_you_mean(item, known)} "
                    f"The model's parts: {listing(known)}."
                )
            words.append(item)
        elif isinstance(item, nn.Module):
            found = [by_id[id(param)] for param in item.parameters() if id(param) in by_id]
            words.append(paths.get(id(item), ""))
        elif isinstance(item, Tensor):
            if id(item) not in by_id:
                raise ValueError(f"split_layers: group {index} holds a tensor that is no parameter of the model.")
            found = [by_id[id(item)]]
        else:
            raise TypeError(
                f"split_layers: group {index} holds {item!r}, a {type(item).__name__}; pass modules, prefixes of "
                "parameter names, or parameters."
            )
        names += found
    return names, ", ".join(filter(None, words[:3])) + (", …" if len(words) > 3 else "")
