"""What holds for the package as a whole: what importing it costs, its version, its public names, its constraints."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import thalweg

ROOT = Path(__file__).resolve().parent.parent
SUBPACKAGES = sorted(info.name for info in pkgutil.iter_modules(thalweg.__path__) if info.ispkg)
LOADED_WHEN_USED = [
    *("matplotlib", "plotly", "pandas", "pyarrow", "sklearn"),
    *("torchmetrics", "typer", "pydantic", "rich", "IPython"),
]


def test_importing_thalweg_loads_nothing_that_only_some_calls_need() -> None:
    code = f"import sys, thalweg; print(*(name for name in {LOADED_WHEN_USED!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_the_version_is_that_of_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert thalweg.__version__ == importlib.metadata.version("thalweg") == project["version"]


# ----------------------------------------------------------------------------------------------------- public names


@dataclass
class Undocumented:
    number: int = 0


class Documented:
    """One line."""


def has_docstring(thing: object) -> bool:
    """Tell whether a class, function or module says what it is; values (a table, a type alias) have nowhere to.

    The signature that `dataclass` writes where a docstring is missing does not count.
    """
    if not (inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing)):
        return True
    doc = (thing.__doc__ or "").strip()
    return bool(doc) and not (inspect.isclass(thing) and doc.startswith(f"{thing.__name__}("))


def faults(module: ModuleType) -> list[str]:
    """Return one line for every name of the module's `__all__` that is missing, doubled or undocumented."""
    names = list(module.__all__)
    found = [f"{name} is listed twice" for name in sorted(set(names)) if names.count(name) > 1]
    for name in names:
        if not hasattr(module, name):
            found.append(f"{name} does not resolve")
        elif not has_docstring(getattr(module, name)):
            found.append(f"{name} has no docstring")
    return found


@pytest.mark.parametrize("name", ["thalweg", *(f"thalweg.{name}" for name in SUBPACKAGES)])
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert hasattr(module, "__all__"), f"{name} does not say what is public: it has no __all__"
    assert has_docstring(module), f"{name} has no docstring"
    assert faults(module) == []


def test_faults_of_public_names_are_found() -> None:
    module = ModuleType("made_up")
    module.Documented, module.Undocumented, module.TABLE = Documented, Undocumented, {"a": 1}  # type: ignore[attr-defined]
    module.__all__ = ["Documented", "Undocumented", "TABLE", "TABLE", "gone"]  # type: ignore[attr-defined]
    assert faults(module) == ["TABLE is listed twice", "Undocumented has no docstring", "gone does not resolve"]


# ------------------------------------------------------------------------------------------------------ constraints


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines if line and line[0] != "#")
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    required = {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, wanted)}
    assert set(pinned) == set(required)
    outside = {name: version for name, version in pinned.items() if not required[name].specifier.contains(version)}
    assert outside == {}


@pytest.mark.parametrize("on", [True, False])
def test_importing_leaves_the_collector_as_it_was(on: bool) -> None:
    code = f"import gc; {'gc.enable()' if on else 'gc.disable()'}; import thalweg; print(gc.isenabled())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == f"{on}\n"
