"""From a TOML file, a name or a mapping to a recipe."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from thalweg.errors import did_you_mean, listing

from .embedded import embedded, read_embedded
from .names import NAMES, Names
from .overrides import apply
from .places import at
from .recipe import SECTIONS, Recipe
from .sections import data, loss, metrics, model, optimizer, schedule
from .sections.train import Train, check

__all__ = ["load"]

_AT = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)")
_TOP = ("name", "description", "published", *SECTIONS)


def load(
    source: Path | str | Mapping[str, Any] = "digits", overrides: Iterable[str] = (), names: Names = NAMES
) -> Recipe:
    """Return a recipe, checked and complete.

    Args:
        source: a TOML file, the name of an embedded recipe, or nested plain data.
        overrides: ``"optimizer.lr=3e-4"``, ``"optimizer=adamw"``; values are TOML, bare words are texts.
        names: what names stand for.

    Raises:
        FileNotFoundError: there is neither such a file nor such an embedded recipe.
        ValueError: no TOML, unknown sections, keys or names, wrong values; one line for every section that is wrong.

    >>> load("digits", ["optimizer.lr=3e-4", "train.epochs=2"]).optimizer["lr"]
    0.0003
    >>> load({"model": "mlp", "data": "digits", "loss": "cross_entropy", "optimizer": {"name": "adam", "lrr": 0.1}})
    Traceback (most recent call last):
    ...
    ValueError: recipe [optimizer]: unknown key 'lrr'. Did you mean 'lr'? Known: amsgrad, betas, eps, lr, ...
    """
    label, name, document, folder = _read(source)
    _check_sections(label, document)
    given = {key: _normal(key, value) for key, value in document.items()}
    if isinstance(given.get("data"), Mapping):
        given["data"] = data.absolute(given["data"], folder)
    given, notes, touched = apply(given, overrides, names)
    if isinstance(given.get("data"), Mapping):
        given["data"] = data.absolute(given["data"], Path.cwd())
    return _checked(given, label, name, notes, touched, names)


def _read(source: Path | str | Mapping[str, Any]) -> tuple[str, str, dict[str, Any], Path]:
    """Return (label for messages, name, document, folder that relative paths start from)."""
    if isinstance(source, Mapping):
        return "recipe", str(source.get("name", "recipe")), dict(source), Path.cwd()
    if str(source) in embedded():
        label = f"recipe {str(source)!r}"
        return label, str(source), _parsed(read_embedded(str(source)), label), Path.cwd()
    path = Path(source)
    if path.is_dir():
        raise ValueError(
            f"recipe {path}: is a folder; name a TOML file"
            + (f", such as {path / 'recipe.toml'}." if (path / "recipe.toml").is_file() else ".")
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"recipe {str(source)!r}: there is no such file in {Path.cwd()}, and no embedded recipe of that name."
            f"{did_you_mean(str(source), embedded())} Embedded: {listing(embedded())}."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); TOML is UTF-8.") from None
    return str(path), path.stem, _parsed(text, str(path)), path.parent


def _parsed(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT.fullmatch(str(error))
        if found is None:
            raise ValueError(f"{label}: is no TOML: {error}.") from None
        line = text.splitlines()[int(found["line"]) - 1].strip()
        raise ValueError(
            f"{label} line {found['line']}, column {found['column']}: is no TOML: {found['what']} in `{line}`."
        ) from None


def _check_sections(label: str, document: Mapping[str, Any]) -> None:
    for key in document:
        if key in _TOP:
            continue
        if key in {entry.name for entry in fields(Train)}:
            raise ValueError(f"{label}: {key!r} stands outside of every section; write it under [train].")
        raise ValueError(f"{label}: unknown section {key!r}.{did_you_mean(key, _TOP)} Known: {listing(_TOP)}.")


def _normal(section: str, value: Any) -> Any:
    """Return a section as a table: a name alone is ``{name = …}``, a list of metrics ``{names = …}``."""
    if section == "schedule":
        return schedule.named(value)
    if section == "metrics":
        return value if isinstance(value, Mapping) else {"names": value}
    return {"name": value} if isinstance(value, str) and section in SECTIONS else value


def _checked(
    given: dict[str, Any],
    label: str,
    name: str,
    notes: tuple[str, ...],
    touched: Mapping[str, list[str]],
    names: Names,
) -> Recipe:
    """Return the recipe; what is wrong in its sections is said together.

    Raises:
        ValueError: one line for each section that is wrong.
    """
    problems: list[str] = []
    checks: dict[str, tuple[Any, Callable[[Any, str], Any]]] = {
        "model": (None, lambda value, place: model.check(value, place, names)),
        "data": (None, lambda value, place: data.check(value, place, names)),
        "optimizer": ({"name": "adamw"}, lambda value, place: optimizer.check(value, place, names)),
        "schedule": ({"name": "constant"}, lambda value, place: schedule.check(value, place, names)),
        "loss": (None, lambda value, place: loss.check(value, place, names)),
        "metrics": ({"names": []}, lambda value, place: metrics.check(value, place)),
        "train": ({}, lambda value, place: check(value, place, names)),
    }
    complete: dict[str, Any] = {}
    for section, (default, run_check) in checks.items():
        value = given.get(section)
        value = default if value is None else value
        place = f"{label} [{section}]"
        if touched.get(section):
            place += f" (with {' '.join(touched[section])})"
        try:
            if value is None:
                raise ValueError(_missing(label, section, names))
            _check_table(value, place, section)
            with at(place):
                complete[section] = run_check(value, place)
        except (ValueError, TypeError) as error:
            problems.append(str(error))
    for key in ("name", "description", "published"):
        if not isinstance(given.get(key, ""), str):
            problems.append(f"{label}: {key} = {given[key]!r} is no text; write it in quotes.")
    if problems:
        raise ValueError("\n".join(problems))
    texts = {key: given.get(key, "") for key in ("description", "published")}
    return Recipe(name=given.get("name", name), **texts, **complete, source=label, notes=notes)


def _check_table(value: Any, place: str, section: str) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{place}: {value!r} is no table; write [{section}] with keys beneath it, or a name in quotes."
        )
    if section in ("model", "optimizer", "loss") and "name" not in value:
        raise ValueError(f"{place}: 'name' is missing; say which {section} it is.")


def _missing(label: str, section: str, names: Names) -> str:
    examples = {
        "model": 'model = "mlp"',
        "data": 'data = "digits"',
        "loss": 'loss = "cross_entropy" for classes, loss = "mse" for numbers',
    }
    known = listing(getattr(names, section).names)
    return f"{label}: [{section}] is missing; write {examples[section]}. Known: {known}, or 'package.module:name'."
