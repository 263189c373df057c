"""The report's sections of text and tables: plan, parameters, epochs, events, recipe, environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.draw import cell, escape, html_table
from thalweg.report.headline import flatten, label
from thalweg.report.run_files import RunFiles

__all__ = ["Section", "text_sections"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_LONG = 40
_KEY = re.compile(r"^(\s*)([\w.\"'-]+)(\s*=)(.*)$")


@dataclass(frozen=True)
class Section:
    """A heading and what stands beneath it.

    Attributes:
        key: its place in the page's links.
        title: the heading.
        html: the body, escaped already.
    """

    key: str
    title: str
    html: str


def text_sections(run: RunFiles) -> list[Section]:
    """Return the sections for whatever the run directory holds."""
    sections = [
        Section("plan", "Plan", _plan(run.plan)),
        Section("parameters", "Parameters", _parameters(run.plan.get("groups"))),
        Section("epochs", "Epochs", _epochs(run)),
        Section("events", "Events", _events(run)),
        Section("recipe", "Recipe", _recipe(run.recipe)),
        Section("environment", "Environment", _facts(flatten(run.environment))),
    ]
    return [section for section in sections if section.html]


def size(count: float) -> str:
    """Return a number of bytes with its unit.

    >>> size(0), size(2048), size(203_560)
    ('0 B', '2 KiB', '198.8 KiB')
    """
    place = 0
    while count >= 1024 and place < len(_UNITS) - 1:
        count /= 1024
        place += 1
    return f"{count:.1f}".removesuffix(".0") + f" {_UNITS[place]}"


def box(table: str, name: str, count: int) -> str:
    """Return a table in a box that scrolls by itself, so that the page never does; a long one starts folded."""
    scrolled = f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">{table}</div>'
    if count <= _LONG:
        return scrolled
    return f"<details><summary>Show all {count:,} rows</summary>{scrolled}</details>"


def _facts(facts: Mapping[str, Any]) -> str:
    """Return a list of names and values."""
    if not facts:
        return ""
    rows = "".join(
        f"<div><dt>{escape(label(name))}</dt><dd>{escape(_listed(value))}</dd></div>" for name, value in facts.items()
    )
    return f'<dl class="facts">{rows}</dl>'


def _listed(value: Any) -> str:
    if value is None:
        return "not known"
    return ", ".join(cell(part) for part in value) if isinstance(value, list) else cell(value)


def _plan(plan: Mapping[str, Any]) -> str:
    """Return the plan's facts, its rates as a table, its memory as a bar."""
    if not plan:
        return ""
    facts: dict[str, Any] = {}
    for name, value in plan.items():
        if name in ("groups", "memory", "rates"):
            continue
        if isinstance(value, Mapping) and "why" in value:
            facts[name] = f"{value.get('name', '')} ({value['why']})" if value["why"] else value.get("name", "")
        elif isinstance(value, Mapping):
            facts.update(flatten(value, f"{name}/"))
        else:
            facts[name] = value
    return _facts(facts) + _rate_table(plan.get("rates")) + _memory(plan.get("memory"))


def _rate_table(rates: Any) -> str:
    if not isinstance(rates, Mapping) or not rates:
        return ""
    names = list(dict.fromkeys(name for values in rates.values() for name in values))
    rows = [[label(quantity), *(values.get(name) for name in names)] for quantity, values in rates.items()]
    return "<h3>Scheduled values</h3>" + box(html_table(rows, ["", *names], style=False), "Scheduled values", len(rows))


def _memory(memory: Any) -> str:
    """Return a bar whose parts are as long as what they stand for, with the numbers beside their names."""
    if not isinstance(memory, Mapping) or not memory:
        return ""
    total = sum(memory.values())
    parts, key = [], []
    for place, (name, count) in enumerate(memory.items()):
        colour = f"var(--series-{place % 6 + 1})"
        parts.append(f'<span style="flex-grow:{count / total if total else 0:.6f};background:{colour}"></span>')
        key.append(f'<li><span class="dot" style="background:{colour}"></span>{escape(label(name))} {size(count)}</li>')
    return (
        f"<h3>Memory</h3><p>{size(total)} in all, activations and batches not counted.</p>"
        f'<div class="bar" aria-hidden="true">{"".join(parts)}</div><ul class="key">{"".join(key)}</ul>'
    )


def _parameters(groups: Any) -> str:
    """Return the table with a row for each parameter, under a line that adds them up."""
    if not isinstance(groups, list) or not groups:
        return ""
    names = list(dict.fromkeys(name for row in groups for name in row))
    rows = [[_parameter_cell(name, row.get(name)) for name in names] for row in groups]
    count = sum(int(row.get("count", 0)) for row in groups)
    frozen = sum(int(row.get("count", 0)) for row in groups if row.get("frozen"))
    tensors = f"{len(groups):,} tensor{'s' if len(groups) != 1 else ''}"
    words = f"{tensors} with {count:,} parameters" + (f", {frozen:,} of them frozen." if frozen else ", none frozen.")
    columns = ["parameter" if name == "name" else label(name) for name in names]
    return f"<p>{words}</p>" + box(html_table(rows, columns, style=False), "Parameters", len(rows))


def _parameter_cell(name: str, value: Any) -> Any:
    if name == "shape" and isinstance(value, list):
        return " × ".join(map(str, value)) or "scalar"
    return value


def _epochs(run: RunFiles) -> str:
    """Return the table with a row per epoch; an empty cell was not recorded."""
    epochs = run.epochs
    if not len(epochs):
        return ""
    names = [name for name in epochs.values if epochs.has(name)]
    columns = []
    for name in names:
        values, held = epochs.values[name].tolist(), epochs.recorded[name].tolist()
        whole = name in ("epoch", "step")
        columns.append(
            [(int(v) if whole and np.isfinite(v) else v) if h else None for v, h in zip(values, held, strict=True)]
        )
    rows = list(zip(*columns, strict=True))
    return box(html_table(rows, [label(name) for name in names], style=False), "Epochs", len(rows))


def _events(run: RunFiles) -> str:
    rows = [[event.step, event.kind, event.text] for event in run.events]
    return box(html_table(rows, ["step", "kind", "what"], style=False), "Events", len(rows)) if rows else ""


def _recipe(recipe: str) -> str:
    """Return the recipe as it is, with its sections, keys and comments set apart."""
    if not recipe.strip():
        return ""
    lines = []
    for text in recipe.splitlines():
        key = _KEY.match(text)
        if text.lstrip().startswith("#"):
            lines.append(f'<span class="comment">{escape(text)}</span>')
        elif text.lstrip().startswith("["):
            lines.append(f'<span class="head">{escape(text)}</span>')
        elif key:
            indent, name, equals, rest = key.groups()
            lines.append(f'{indent}<span class="name">{escape(name)}</span>{equals}{escape(rest)}')
        else:
            lines.append(escape(text))
    body = "\n".join(lines)
    return (
        '<button type="button" class="copy" data-copy="recipe-text" hidden>Copy</button>'
        f'<pre id="recipe-text" tabindex="0" aria-label="Recipe">{body}</pre>'
    )
