"""The law of floors: imports go only downwards, and no modules import each other in a circle.

The import map is drawn from the source, not from a running program, so that imports inside functions and under
`TYPE_CHECKING` count too: a type that must be named from above means that it is declared on the wrong floor.
`importlib.import_module` with a literal name counts as well. What does not count is that Python runs a package's
`__init__.py` before any module of the package.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "thalweg"
LONGEST_FILE = 400
NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "misc"}

# Top to bottom; names on one row do not import each other. docs/architecture.md shows the same list without "", which
# is `thalweg/__init__.py`: it imports what users see, and only the command line, a user itself, imports it.
FLOORS = [
    ["__main__"],
    ["cli"],
    [""],
    ["recipe"],
    ["recommend"],
    ["learner"],
    ["report"],
    ["linear"],
    ["find"],
    ["race", "surface"],
    ["loop"],
    ["engine"],
    ["checkpoint", "draw"],
    ["objective", "data", "presets"],
    ["optim", "schedule", "loss", "metric"],
    ["errors"],
]

Map = dict[str, dict[str, int]]  # module → the modules that it imports, each with the line of its first import


def module_files(package: Path) -> dict[str, Path]:
    """Return dotted module name → file for every Python file of *package*."""
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imported_names(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """Yield (dotted name, line) for everything that the source imports, relative names made absolute."""
    parts = module.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno


def import_map(package: Path) -> Map:
    """Draw the import map of *package*: edges between its own modules only."""
    files = module_files(package)
    drawn: Map = {}
    for module, path in files.items():
        edges: dict[str, int] = {}
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for name, line in imported_names(tree, module, path.name == "__init__.py"):
            # `from thalweg.optim import Rule` names an attribute: the module is the longest prefix that has a file.
            while name and name not in files:
                name = name.rpartition(".")[0]
            if name and name != module:
                edges.setdefault(name, line)
        drawn[module] = edges
    return drawn


def heights(floors: list[list[str]]) -> dict[str, int]:
    """Return name → height, the lowest floor being 0."""
    return {name: len(floors) - 1 - row for row, names in enumerate(floors) for name in names}


def floor_of(module: str) -> str:
    """Return the subpackage or top-level module that *module* belongs to; "" is the package itself."""
    return module.split(".")[1] if "." in module else ""


def broken_arrows(drawn: Map, floors: list[list[str]]) -> list[str]:
    """Return one line for every import that does not lead down to a lower floor or stay within its own name."""
    height = heights(floors)
    lines = [f"{module} stands on no floor" for module in drawn if floor_of(module) not in height]
    for module, edges in drawn.items():
        for target, line in edges.items():
            above, below = floor_of(module), floor_of(target)
            if above == below or above not in height or below not in height:
                continue
            if height[below] >= height[above]:
                way = "up" if height[below] > height[above] else "across its row"
                lines.append(f"{module}:{line} imports {target}: {way} from {above!r} to {below!r}")
    return lines


def find_cycle(drawn: Map) -> list[str]:
    """Return the modules of one cycle, its first repeated at the end, or an empty list.

    A depth-first walk: a module that is met again while it is still on the path closes a cycle.
    """
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in drawn[module]:
            if cycle := walk(target, [*path, module]):
                return cycle
        done.add(module)
        return []

    return next(filter(None, (walk(module, []) for module in drawn)), [])


def make_tree(root: Path, sources: dict[str, str]) -> Path:
    """Write a package named `made_up` with the given files and return its folder."""
    package = root / "made_up"
    for name, source in {"__init__.py": "", **sources}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


# ---------------------------------------------------------------------------------------------- the tree that is there


def test_imports_go_only_downwards() -> None:
    broken = broken_arrows(import_map(SOURCE), FLOORS)
    assert not broken, "\n".join(broken)


def test_no_modules_import_each_other_in_a_circle() -> None:
    cycle = find_cycle(import_map(SOURCE))
    assert not cycle, " → ".join(cycle)


def test_the_map_sees_the_tree() -> None:
    drawn = import_map(SOURCE)
    assert {"thalweg", "thalweg.errors", "thalweg.optim", "thalweg.cli"} <= set(drawn)
    assert drawn["thalweg.errors"] == {}


def test_the_documented_floors_are_these() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"## Floors\n.*?```\n(.*?)```", text, flags=re.DOTALL)
    assert block is not None, "docs/architecture.md shows no block of floors under '## Floors'"
    # The names stand before the first wide gap that is followed by prose; names of one row are two spaces apart.
    rows = [re.split(r"\s{3,}", line)[0].split() for line in block.group(1).splitlines()]
    assert rows == [row for row in FLOORS if row != [""]]


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    long = [f"{path.relative_to(ROOT)}: {n} lines" for path, n in lengths.items() if n > LONGEST_FILE]
    assert not long, f"longer than {LONGEST_FILE} lines; split by concept: {long}"


def test_every_module_is_named_after_what_it_holds() -> None:
    named = [module for module in module_files(SOURCE) if NAMES_THAT_SAY_NOTHING & set(module.split("."))]
    assert not named, f"these names do not say what is inside: {named}"


# ------------------------------------------------------------------------------------------ the test can fail: made-up

MADE_UP_FLOORS = [["shell"], [""], ["top"], ["left", "right"], ["bottom"]]
SOUND = {
    "__init__.py": "from made_up.top import run",
    "shell.py": "from made_up import run",
    "top.py": "import made_up.left, torch\ndef run():\n    from made_up.right.inner import thing",
    "left.py": "from made_up.bottom import name",
    "right/__init__.py": "from made_up.right.inner import thing",
    "right/inner.py": "from .deeper import thing\nfrom .. import bottom",
    "right/deeper.py": "from made_up.bottom import thing",
    "bottom.py": "import os",
}


def test_a_sound_tree_passes(tmp_path: Path) -> None:
    drawn = import_map(make_tree(tmp_path, SOUND))
    assert drawn == {
        "made_up": {"made_up.top": 1},
        "made_up.bottom": {},
        "made_up.left": {"made_up.bottom": 1},
        "made_up.right": {"made_up.right.inner": 1},
        "made_up.right.deeper": {"made_up.bottom": 1},
        "made_up.right.inner": {"made_up.right.deeper": 1, "made_up.bottom": 2},
        "made_up.shell": {"made_up": 1},
        "made_up.top": {"made_up.left": 1, "made_up.right.inner": 3},
    }
    assert broken_arrows(drawn, MADE_UP_FLOORS) == []
    assert find_cycle(drawn) == []


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        (
            "bottom.py",
            "from made_up.left import x",
            "made_up.bottom:1 imports made_up.left: up from 'bottom'",
        ),
        ("bottom.py", "def f():\n    import made_up.top", "made_up.bottom:2 imports made_up.top: up"),
        ("bottom.py", "if TYPE_CHECKING:\n    from made_up import top", "made_up.bottom:2 imports made_up.top: up"),
        ("bottom.py", "import_module('made_up.top')", "made_up.bottom:1 imports made_up.top: up"),
        (
            "bottom.py",
            "import importlib\nimportlib.import_module('made_up.top')",
            "made_up.bottom:2 imports made_up.top",
        ),
        ("bottom.py", "from made_up import run", "made_up.bottom:1 imports made_up: up from 'bottom' to ''"),
        ("bottom.py", "from . import top", "made_up.bottom:1 imports made_up.top: up"),
        ("right/deeper.py", "from ..top import x", "made_up.right.deeper:1 imports made_up.top: up"),
        ("right/__init__.py", "from ..top import x", "made_up.right:1 imports made_up.top: up"),
        ("__init__.py", "def f():\n    import made_up.shell", "made_up:2 imports made_up.shell: up from '' to 'shell'"),
        ("left.py", "import made_up.right", "made_up.left:1 imports made_up.right: across its row"),
        ("attic.py", "", "made_up.attic stands on no floor"),
    ],
)
def test_an_upward_arrow_is_found(tmp_path: Path, name: str, source: str, said: str) -> None:
    broken = broken_arrows(import_map(make_tree(tmp_path, SOUND | {name: source})), MADE_UP_FLOORS)
    assert len(broken) == 1
    assert broken[0].startswith(said)


def test_a_cycle_is_found_within_one_floor(tmp_path: Path) -> None:
    looped = {"right/deeper.py": "def f():\n    from made_up.right.inner import thing"}
    drawn = import_map(make_tree(tmp_path, SOUND | looped))
    assert broken_arrows(drawn, MADE_UP_FLOORS) == []
    cycle = find_cycle(drawn)
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"made_up.right.inner", "made_up.right.deeper"}
    assert all(after in drawn[before] for before, after in pairwise(cycle))


def test_asking_the_own_package_is_a_cycle(tmp_path: Path) -> None:
    looped = {"right/deeper.py": "from made_up.right import thing"}
    assert set(find_cycle(import_map(make_tree(tmp_path, SOUND | looped)))) == {
        "made_up.right",
        "made_up.right.inner",
        "made_up.right.deeper",
    }
