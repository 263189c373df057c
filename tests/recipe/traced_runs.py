"""Whole runs of odd recipes and places, each path that is written noted; started by test_paths.py as a process.

Python's audit events tell of every open, mkdir, rename, remove and link; what is written past Python (safetensors) is
found by comparing the folders around the run directory before and after.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.recipe.tiny import tiny, without_pictures
from thalweg.recipe import is_refusal, load, resume, run

# Event → which of its arguments are paths that are changed.
WRITES = {
    **{f"os.{name}": slice(1) for name in ("mkdir", "remove", "rmdir", "truncate", "chmod")},
    **{f"os.{name}": slice(1, 2) for name in ("link", "symlink")},
    "os.rename": slice(2),
}
FILES = ("lock", "recipe.toml", "history.csv", "events.csv", "plan.json", "summary.json", "model.safetensors")
FOLDERS = ("checkpoints", "figures", "tensorboard", "report.html")
STEP = "checkpoints/step-000000003"
LINKS = [*FILES, *FOLDERS, ".recipe.toml.{pid}.tmp", ".history.csv.{pid}.tmp", STEP, "checkpoints/.step-000000003.old"]

noted: list[str] | None = None


def note(event: str, args: tuple[Any, ...]) -> None:
    if noted is None:
        return
    if event == "open":
        path, mode, flags = args
        changes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        if isinstance(path, (str, bytes)) and (set(mode or "") & set("wax+") or (flags or 0) & changes):
            noted.append(os.path.realpath(os.fsdecode(path)))
    elif event in WRITES:
        given_paths = [os.fsdecode(path) for path in args[WRITES[event]]]
        if event in ("os.remove", "os.rmdir") and args[1] >= 0:  # of shutil.rmtree, which goes from folder to folder
            given_paths = [os.path.join(os.readlink(f"/proc/self/fd/{args[1]}"), path) for path in given_paths]
        paths = [os.path.split(os.path.abspath(path)) for path in given_paths]
        noted.extend(os.path.join(os.path.realpath(parent), name) for parent, name in paths)


def tree(place: Path) -> dict[str, Any]:
    """Return what lies below *place*: links by their target, files by their bytes."""
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = Path(folder, name)
            held: Any = None
            if path.is_symlink():
                held = os.readlink(path)
            elif path.is_file():
                held = path.read_bytes()
            found[str(path.relative_to(place))] = held
    return found


def within(path: str, home: str) -> bool:
    """Whether writing *path* changes the directory *home*, or makes a folder on the way to it."""
    return path == home or path.startswith(home + os.sep) or home.startswith(path + os.sep)


TEXT = st.text(max_size=12)
PLACES = st.one_of(
    st.sampled_from(
        ["here", ".", "", "a/../b", "../up", "{top}/absolute", "through/deep", "n\0l", "x" * 300, "~", "-o", "file"]
    ),
    TEXT.filter(lambda text: not text.startswith("/") and ".." not in text),
)
PLANTED = st.lists(st.tuples(st.sampled_from(LINKS), st.sampled_from(["folder", "file", "nothing"])), max_size=2)


@settings(
    max_examples=10 if sys.argv[3:] == ["bare"] else 1,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(name=TEXT, out=st.one_of(st.none(), PLACES), planted=PLANTED, later=PLANTED, every=st.sampled_from([1, "best"]))
@example(name="..", out=None, planted=[], later=[("checkpoints", "folder")], every=1)
@example(name="../../up", out=None, planted=[], later=[("lock", "file")], every=1)
@example(name="/etc", out="here", planted=[("history.csv", "file")], later=[], every=1)
@example(name="n\0l", out="here", planted=[], later=[("tensorboard", "folder")], every="best")
@example(name="a", out="n\0l", planted=[], later=[], every=1)
@example(name="a", out="through/deep", planted=[], later=[(STEP, "folder")], every=1)
@example(name="a", out="here", planted=[("figures", "folder"), (".recipe.toml.{pid}.tmp", "file")], later=[], every=1)
def runs_stay_where_they_are(
    name: str, out: str | None, planted: list[tuple[str, str]], later: list[tuple[str, str]], every: int | str
) -> None:
    """A run, then one epoch more with links planted in between: finished or refused in words, nothing elsewhere."""
    global noted
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder).resolve()
        work = top / "a" / "work"
        for made in (work, top / "elsewhere", top / "a" / "target"):
            made.mkdir(parents=True)
        (top / "elsewhere" / "file").write_text("kept")
        (work / "file").write_text("kept")
        (work / "through").symlink_to(top / "a" / "target")  # the user's own way to a larger disk
        os.chdir(work)
        given_out = None if out is None else out.replace("{top}", str(top))
        home = _home(work, given_out)
        plant(home, planted, top)
        before = tree(top)
        document = tiny(
            name=name, train={**tiny()["train"], "epochs": 1, "loggers": LOGGERS, "checkpoint_every": every}
        )
        places: list[Path] = []
        noted = []
        try:
            done = refused(lambda: run(load(document), given_out, verbose=False, started=places.append))
            home = os.path.realpath(places[0]) if places else home
            if not done:
                so_far, noted = noted, None
                plant(home, later, top)
                noted = so_far
                between = tree(top)
                refused(lambda: resume(places[0], overrides=["train.epochs=2"], verbose=False))
                check(top, between, home)
            else:
                check(top, before, home)
        finally:
            paths, noted = noted, None
        outside = [path for path in paths if not (home and within(path, home)) and not is_free(path)]
        if home is None and given_out is None:
            outside = [path for path in outside if not within(path, str(work / "runs"))]
        assert not outside, outside
        os.chdir(top.parent)


def _home(work: Path, out: str | None) -> str | None:
    if out is None or "\0" in out:
        return None
    return os.path.realpath(work / out)


def plant(home: str | None, links: list[tuple[str, str]], top: Path) -> None:
    """Put links to elsewhere into the run directory."""
    for name, kind in links if home is not None and len(os.path.basename(home)) < 200 else ():
        path = Path(home or "", name.format(pid=os.getpid()))
        if path.exists() and not path.is_symlink():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not path.is_symlink() and not Path(home or "").is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(top / "elsewhere" / {"folder": "", "file": "file", "nothing": "nothing"}[kind])


def check(top: Path, before: dict[str, Any], home: str | None) -> None:
    """Compare what lies outside of the run directory; parents of it may be new."""
    after = tree(top)
    for path in {*before, *after}:
        full = str(top / path)
        mine = home is not None and within(full, home)
        assert mine or path == "a/work/runs" or before.get(path, "absent") == after.get(path, "absent"), path


def refused(call: Any) -> bool:
    """Whether Thalweg refused; anything else than that or success is a failure."""
    try:
        call()
    except (ValueError, TypeError, FileNotFoundError) as error:
        if not is_refusal(error):
            raise
        said.append(str(error))
        return True
    return False


def is_free(path: str) -> bool:
    """Whether it is a device, or in a cache that the pages name (compiled kernels, matplotlib's fonts)."""
    return path.startswith(("/dev/", *CACHES))


said: list[str] = []
LOGGERS: list[str] = []
CACHES: tuple[str, ...] = ()

if __name__ == "__main__":
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    LOGGERS = json.loads(sys.argv[1])
    CACHES = tuple(json.loads(sys.argv[2]))
    sys.addaudithook(note)
    with pytest.MonkeyPatch.context() as patch:
        if sys.argv[3] == "bare":
            without_pictures(patch)
        runs_stay_where_they_are()
    print(json.dumps(sorted(set(said))))
