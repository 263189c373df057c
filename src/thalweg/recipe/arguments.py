"""The settings of a section, held against the signature of what they are for."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal

from thalweg.errors import unknown_name

__all__ = ["check_keys", "check_types", "parameters", "plain", "with_defaults"]

Anything = Callable[..., Any]


def parameters(target: Anything) -> dict[str, inspect.Parameter]:
    """Return the parameters that can be given by name.

    >>> list(parameters(lambda a, b=1, *rest, **more: None))
    ['a', 'b']
    """
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        found = inspect.signature(target).parameters
    except ValueError:  # some classes written in C show no signature
        return {}
    return {name: parameter for name, parameter in found.items() if parameter.kind in by_name}


def _takes_anything(target: Anything) -> bool:
    try:
        found = inspect.signature(target).parameters.values()
    except ValueError:
        return True
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in found)


def check_keys(
    place: str,
    target: Anything,
    given: Mapping[str, Any],
    *,
    besides: Sequence[str] = (),
    advice: str = "give a value",
) -> None:
    """Raise unless every key is a parameter of *target*, and every parameter without a default has its key.

    Args:
        place: who asks, for messages.
        target: a class or function.
        given: key → value.
        besides: further keys that the section knows.
        advice: what to do about a missing key.

    Raises:
        ValueError: an unknown key, with the nearest known one; a missing key.

    >>> check_keys("recipe.toml [optimizer]", lambda lr, momentum=0.0: None, {"lrr": 0.1})
    Traceback (most recent call last):
    ...
    ValueError: recipe.toml [optimizer]: unknown key 'lrr'. Did you mean 'lr'? Known: lr, momentum.
    """
    known = parameters(target)
    if not _takes_anything(target):
        for key in given:
            if key not in known and key not in besides:
                raise unknown_name(place, "key", key, [*known, *besides])
    missing = [name for name, parameter in known.items() if parameter.default is parameter.empty and name not in given]
    if missing:
        keys = " and ".join(repr(name) for name in missing)
        raise ValueError(f"{place}: {keys} {'is' if len(missing) == 1 else 'are'} missing; {advice}.")


def check_types(place: str, target: Anything, given: Mapping[str, Any], *, auto: Sequence[str] = ()) -> None:
    """Raise unless every value has the type that *target*'s annotation asks for; TOML's types, none converted.

    Args:
        place: who asks, for messages.
        target: a class or function of ours, whose annotations say what they mean.
        given: key → value; keys must be known.
        auto: keys that may also be the text ``"auto"``.

    Raises:
        ValueError: a value of another type; the message says what is needed in plain words.

    >>> def train(epochs: int = 1, clip_norm: float | None = None): ...
    >>> check_types("recipe.toml [train]", train, {"epochs": "ten"})
    Traceback (most recent call last):
    ...
    ValueError: recipe.toml [train]: epochs = 'ten' is a text; it must be a whole number.
    """
    # pydantic is imported with the first recipe, not with thalweg.
    from pydantic import ConfigDict, ValidationError, create_model

    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    wanted = {key: hints.get(key, Any) for key in given}
    wanted |= {key: wanted[key] | Literal["auto"] for key in auto if key in wanted}
    fields: dict[str, Any] = {f"field_{key}": (hint, ...) for key, hint in wanted.items()}
    model = create_model("Settings", __config__=ConfigDict(strict=True, arbitrary_types_allowed=True), **fields)
    try:
        model.model_validate({f"field_{key}": value for key, value in given.items()})
    except ValidationError as error:
        wrong = dict.fromkeys(str(entry["loc"][0]).removeprefix("field_") for entry in error.errors())
        lines = [
            f"{place}: {key} = {given[key]!r} is {_kind(given[key])}; it must be {_words(wanted[key])}."
            for key in wrong
        ]
        raise ValueError("\n".join(lines)) from None


def with_defaults(target: Anything, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return *given* with every default of *target* that TOML can hold, in the order of the parameters.

    >>> with_defaults(lambda lr, momentum=0.0, nesterov=False, decay=None: None, {"lr": 0.1})
    {'lr': 0.1, 'momentum': 0.0, 'nesterov': False}
    """
    complete: dict[str, Any] = {}
    for name, parameter in parameters(target).items():
        value = given.get(name, parameter.default)
        if name in given or (parameter.default is not parameter.empty and _is_plain(value)):
            complete[name] = plain(value)
    return complete | {key: plain(value) for key, value in given.items() if key not in complete}


def plain(value: Any) -> Any:
    """Return *value* with tuples as lists and mappings as dicts without what is None, which TOML does not have.

    >>> plain({"betas": (0.9, 0.999), "steps": None})
    {'betas': [0.9, 0.999]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return isinstance(value, (bool, int, float, str))


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "",
}
_MANY = {bool: "booleans", int: "whole numbers", float: "numbers", str: "texts"}


def _kind(value: Any) -> str:
    """Return what a value is, in TOML's words."""
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    return "a boolean" if isinstance(value, bool) else _KINDS.get(type(value), f"a {type(value).__name__}")


def _words(hint: Any) -> str:
    """Return an annotation in plain words.

    >>> _words(float | None), _words(str | Sequence[int])
    ('a number', 'a text or a list of whole numbers')
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (UnionType, typing.Union):
        words = dict.fromkeys(filter(None, map(_words, arguments)))
        return " or ".join(words)
    if origin is Literal:
        return " or ".join(repr(option) for option in arguments)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a table"
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list of {_MANY.get(arguments[0], 'values')}"
    return _KINDS.get(hint, "") if inspect.isclass(hint) else "a value"
