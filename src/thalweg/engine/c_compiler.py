"""The machine's C compiler: a kernel from its source, kept on disk for the next process."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["NoCompiler", "builds", "cache_folder", "load_kernel", "real_function", "unavailable"]

# Contraction is off, so that a product and a sum round as they do in the equation.
_FLAGS = ["-O2", "-fPIC", "-std=gnu11", "-w", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
# In the order in which they are tried. torch's own OpenMP library is already loaded and is the one whose threads are
# used: a second one would compete with it for the cores.
_NATIVE: tuple[list[str], ...] = (["-march=native"], ["-mcpu=native"], [])
_SECONDS = 600

_builds = [0]
_loaded: dict[str, ctypes.CDLL] = {}
_working: list[list[str]] = []


class NoCompiler(RuntimeError):
    """There is no C compiler that works here; the message says what was tried."""


def builds() -> int:
    """Return how many kernels this process has compiled (not those it found on disk)."""
    return _builds[0]


def cache_folder() -> Path:
    """Return where compiled kernels are kept: ``THALWEG_CACHE``, or ``thalweg`` in the user's cache folder."""
    given = os.environ.get("THALWEG_CACHE")
    if given:
        return Path(given) / "kernels"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "thalweg" / "kernels"


@lru_cache(maxsize=1)
def unavailable() -> str:
    """Return why no kernel can be compiled here, or an empty string; cheap, nothing is compiled."""
    if os.name != "posix":
        return f"kernels are compiled on Linux and macOS, and this is {platform.system()}"
    if _compiler() is None:
        return "no C compiler was found (cc, gcc or clang on the PATH, or CC)"
    if not hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        return "torch's OpenMP library is not one that gcc's code can use"
    return ""


def _compiler() -> str | None:
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return what a native kernel depends on besides its source."""
    compiler = _compiler()
    assert compiler is not None
    version = os.stat(os.path.realpath(compiler))
    features = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return "\n".join(
        [os.path.realpath(compiler), f"{version.st_size} {version.st_mtime_ns}", platform.machine(), features]
    )


def load_kernel(source: str) -> ctypes.CDLL:
    """Return the library that *source* compiles to, from this process, from disk, or from the compiler.

    Raises:
        NoCompiler: none was found, or it failed.
    """
    reason = unavailable()
    if reason:
        raise NoCompiler(reason)
    name = hashlib.sha256("\n".join([source, *_FLAGS, _machine()]).encode()).hexdigest()[:32]
    if name not in _loaded:
        _loaded[name] = _from_disk(name) or _compiled(name, source)
    return _loaded[name]


def real_function(source: str, dtype: str, name: str, arguments: list[Any], result: Any = None) -> Any:
    """Return the function *name* of *source* with ``@REAL@`` as C's type for *dtype*; None where there is none.

    Args:
        source: in C.
        dtype: NumPy's name; there is one for float32 and float64, where a compiler works.
        name: of the function.
        arguments: its types, of ctypes.
        result: its type; None for void.
    """
    real = {"float32": "float", "float64": "double"}.get(dtype)
    if real is None:
        return None
    try:
        function = getattr(load_kernel(source.replace("@REAL@", real)), name)
    except NoCompiler:
        return None
    function.argtypes, function.restype = arguments, result
    return function


def _from_disk(name: str) -> ctypes.CDLL | None:
    path = cache_folder() / f"{name}.so"
    try:
        return ctypes.CDLL(str(path)) if path.exists() else None
    except OSError:  # half a file, or one of another system under the same home
        return None


def _compiled(name: str, source: str) -> ctypes.CDLL:
    compiler = _compiler()
    assert compiler is not None
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keep = os.access(folder, os.W_OK)
    except OSError:
        keep = False
    failure = ""
    with tempfile.TemporaryDirectory(prefix="thalweg-") as scratch:
        text, library = Path(scratch) / "kernel.c", Path(scratch) / "kernel.so"
        text.write_text(source, encoding="utf-8")
        for native in _working or _NATIVE:
            # -nostdlib leaves OpenMP's names open, for the library that torch has loaded.
            parts: list[Any] = [compiler, *_FLAGS, *native, "-fopenmp", "-shared", "-nostdlib", text, "-o", library]
            parts += ["-lm", "-lgcc"]
            try:
                done = subprocess.run(parts, capture_output=True, text=True, timeout=_SECONDS, check=False)
                if done.returncode == 0:
                    loaded = ctypes.CDLL(str(library), mode=os.RTLD_NOW)
                    _working[:] = [native]
                    _builds[0] += 1
                    if keep:
                        _file(library, folder / f"{name}.so")
                    return loaded
                failure = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
            except (OSError, subprocess.SubprocessError) as error:
                failure = str(error)
    raise NoCompiler(f"{Path(compiler).name} failed: {failure[:200]}")


def _file(library: Path, place: Path) -> None:
    """Put the library at its place in one step, so that no other process ever loads half of it."""
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".building-")
    os.close(handle)
    try:
        shutil.copyfile(library, temporary)
        os.chmod(temporary, 0o700)
        os.replace(temporary, place)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
