"""``optimizer.lr=3e-4`` on the command line: values put into a recipe before it is checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

from thalweg.errors import did_you_mean, listing
from thalweg.schedule import HYPERPARAMETERS

from .arguments import parameters
from .names import Names, NameTable
from .sections.data import refuse_file
from .sections.schedule import named
from .sections.train import Train

__all__ = ["apply", "parse"]

_SECTIONS = ("model", "data", "optimizer", "schedule", "loss", "metrics", "train")
_BARE_FLOAT = re.compile(r"[+-]?(\d+\.|\.\d+)([eE][+-]?\d+)?")


def parse(text: str) -> tuple[list[str], Any]:
    """Return (keys, value) of ``key.key=value``; the value is TOML, and a text where it is no TOML.

    Raises:
        ValueError: there is no ``=``, or an empty key.

    >>> parse("optimizer.lr=3e-4"), parse("optimizer=adamw"), parse("model.hidden=[128, 64]")
    ((['optimizer', 'lr'], 0.0003), (['optimizer'], 'adamw'), (['model', 'hidden'], [128, 64]))
    >>> parse("schedule.parts.0.steps=5%")
    (['schedule', 'parts', '0', 'steps'], '5%')
    """
    path, sign, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not sign or not all(keys):
        raise ValueError(f"override {text!r}: is not of the form key=value; write for example optimizer.lr=3e-4.")
    return keys, _value(value.strip())


def _value(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return float(text) if _BARE_FLOAT.fullmatch(text) else text
    return read["value"] if len(read) == 1 else text


def apply(
    document: Mapping[str, Any], overrides: Iterable[str], names: Names
) -> tuple[dict[str, Any], tuple[str, ...], dict[str, list[str]]]:
    """Return (document with the overrides, what they changed besides, section → the overrides of it).

    ``optimizer=sgd`` changes the name and drops the settings that the new rule has not; so for every section with a
    name. ``schedule.momentum=cosine`` beside a schedule of the rate makes it one schedule per hyperparameter. Other
    data give the recipe their name, and a description that no longer holds is left out.

    Raises:
        ValueError: an override without ``=``, of an unknown section, or through something that is no table.

    >>> from thalweg.recipe import NAMES
    >>> adam = {"optimizer": {"name": "adam", "lr": 0.1, "eps": 1e-6}}
    >>> apply(adam, ["optimizer=sgd"], NAMES)[:2]
    ({'optimizer': {'name': 'sgd', 'lr': 0.1}}, ('optimizer=sgd: lr = 0.1 is kept; eps is dropped, sgd has none.',))
    """
    changed: dict[str, Any] = deepcopy(dict(document))
    notes: list[str] = []
    touched: dict[str, list[str]] = {}
    for text in overrides:
        keys, value = parse(text)
        section = keys[0]
        if section in ("name", "description", "published") and len(keys) == 1:
            changed[section] = value
            continue
        if section not in _SECTIONS:
            raise ValueError(_unknown_section(text, section, changed, names))
        touched.setdefault(section, []).append(text)
        table: NameTable | None = getattr(names, section, None)
        if section == "metrics" and len(keys) == 1:
            changed[section] = {"names": value}
        elif table is not None and isinstance(value, str) and keys[1:] in ([], ["name"]):
            if section == "data":
                refuse_file(value, f"override {text!r}")
            changed[section], note = _renamed(changed.get(section), value, text, table)
            notes.extend([note] if note else [])
        elif len(keys) == 1:
            changed[section] = value
        else:
            _put(changed, keys, value, text)
    if "schedule" in touched:
        changed["schedule"] = named(changed["schedule"])
    _retitle(document, changed, touched)
    return changed, tuple(notes), touched


def _retitle(before: Mapping[str, Any], after: dict[str, Any], touched: Mapping[str, list[str]]) -> None:
    """Take away what another model, rule or data set makes untrue: the description, and the published figure, which
    is of a size as well; other data give the name.
    """
    changed = any(before.get(section) != after.get(section) for section in ("model", "data"))
    if changed and before.get("published") == after.get("published"):
        after.pop("published", None)
    for section in ("model", "data", "optimizer"):
        old, new = _title(before.get(section)), _title(after.get(section))
        if section in touched and old != new:
            if before.get("description") == after.get("description"):
                after.pop("description", None)
            if section == "data" and new and before.get("name") == after.get("name"):
                after["name"] = new


def _title(section: Any) -> str:
    """Return what a section is about in one word: its name, or its file's."""
    if not isinstance(section, Mapping):
        return ""
    return Path(str(section["path"])).stem if "path" in section else str(section.get("name", "")).rpartition(":")[2]


def _renamed(old: Any, name: str, text: str, table: NameTable) -> tuple[dict[str, Any], str]:
    """Return the section under its new name, and a note on the settings that stay and go."""
    new, target = table.find(name, f"override {text!r}")
    if not isinstance(old, Mapping) or ("name" not in old and "path" not in old):
        return {"name": new}, ""
    if old.get("name") == new:
        return dict(old), ""
    known = parameters(target)
    settings = {key: value for key, value in old.items() if key != "name"}
    kept = {key: value for key, value in settings.items() if key in known}
    dropped = [key for key in settings if key not in known]
    words = [f"{key} = {value!r}" for key, value in kept.items()]
    parts = []
    if words:
        parts.append(f"{_and(words)} {'is' if len(words) == 1 else 'are'} kept")
    if dropped:
        parts.append(f"{_and(dropped)} {'is' if len(dropped) == 1 else 'are'} dropped, {new} has none")
    return {"name": new, **kept}, f"{text}: {'; '.join(parts)}." if parts else ""


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _put(document: dict[str, Any], keys: list[str], value: Any, text: str) -> None:
    """Set the value at its place, in tables and lists on the way."""
    section, *rest = keys
    if section == "data" and rest == ["path"] and "name" in document.get("data", {}):
        document["data"] = {}
    if section == "schedule" and rest[0] in HYPERPARAMETERS and "name" in document.get("schedule", {}):
        document["schedule"] = {"lr": document["schedule"]}
    here: Any = document.setdefault(section, {})
    for depth, key in enumerate(rest):
        last = depth == len(rest) - 1
        passed = ".".join(keys[: depth + 1])
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
                raise ValueError(
                    f"override {text!r}: {passed} is a list of {len(here)}, and {key!r} is none of its places; count "
                    "from 0."
                )
            if last:
                here[int(key)] = value
            else:
                here = here[int(key)]
            continue
        if not isinstance(here, dict):
            raise ValueError(f"override {text!r}: {passed} = {here!r} is no table, so that it has no {key!r}.")
        if last:
            here[key] = value
        else:
            here = here.setdefault(key, {})


def _unknown_section(text: str, name: str, document: Mapping[str, Any], names: Names) -> str:
    """Return the message; a key without its section is told where it belongs."""
    homes = [f"train.{name}"] if name in {entry.name for entry in fields(Train)} else []
    for section in ("model", "data", "optimizer", "schedule", "loss"):
        present = document.get(section)
        if isinstance(present, Mapping) and isinstance(present.get("name"), str):
            try:
                _, target = getattr(names, section).find(present["name"], section)
            except ValueError:
                continue
            if name in parameters(target):
                homes.append(f"{section}.{name}")
    hint = f" Did you mean {' or '.join(homes)}?" if homes else did_you_mean(name, _SECTIONS)
    return f"override {text!r}: unknown section {name!r}.{hint} Known: {listing(_SECTIONS)}."
