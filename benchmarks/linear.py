"""Least squares over a file of 40 float32 columns and a target, beside NumPy, scikit-learn and Vowpal Wabbit.

Everything runs on a warm page cache; rows per second are compared. Beside each speed stand the accuracy it reached
(how far the coefficients are from QR of all rows in float64) and the floor: the time to read the rows once at the
bandwidth measured in the same run.

`python benchmarks/linear.py closed_form` runs one part of several.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import thalweg as tw
from _record import Result, Times, all_known, compare, emit, figure, measure, say

FEATURES = 40
ROWS = 2_000_000
BATCH = 4096
BLOCK = 65_536
TRUTH = np.linspace(-1, 1, FEATURES)


def make(path: Path, rows: int) -> None:
    """Write columns of mean 0 … 2 and the target y = Xw + 1 + ε/2 as the last column."""
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, FEATURES + 1))
    for start in range(0, rows, BLOCK):
        part = out[start : start + BLOCK]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        part[:, :-1] += np.linspace(0, 2, FEATURES, dtype=np.float32)
        part[:, -1] = part[:, :-1] @ TRUTH.astype(np.float32) + 1 + part[:, -1] / 2
    out.flush()


def bandwidth(path: Path) -> float:
    """Return the bytes per second at which the file is read into one buffer that is used again."""
    buffer = memoryview(bytearray(1 << 20))
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        best = max(best, path.stat().st_size / (time.perf_counter() - start))
    return best


def distance(coef: Any, best: Any) -> float:
    """Return the relative distance of coefficients from the right ones."""
    return float(np.linalg.norm(np.asarray(coef, np.float64) - best) / np.linalg.norm(best))


def rates(case: str, times: dict[str, Times], rows: int, ours: str, peer: str, **more: Any) -> Result:
    """Compare rows per second, after `compare` has judged whether the peer's own times agree."""
    judged = compare(case, times, ours=ours, peer=peer, target=1 / more["target"])
    found = figure(
        case,
        rows / times[ours].median,
        rows / times[peer].median,
        peer_name=more["peer_name"],
        unit="rows/s",
        target=more["target"] if judged.holds is not None else None,
        larger_is_better=True,
        floor=more["floor"],
    )
    return found


def closed_form(path: Path, rows: int, floor: float) -> None:
    """One pass of the closed form beside NumPy's Gram matrix in blocks and scikit-learn in memory."""
    from sklearn.linear_model import LinearRegression

    source = tw.data.stream(path, target=FEATURES)
    exact = tw.linear.LeastSquares(qr=True, dtype="float64").fit_stream(source).coef_.astype(np.float64)
    kept: dict[str, Any] = {}

    def ours(precision: str) -> Callable[[], None]:
        def fit() -> None:
            model = tw.linear.LeastSquares(precision=precision, dtype="float64")
            kept[precision] = model.fit_stream(tw.data.stream(path, target=FEATURES))

        return fit

    def numpy_blocks() -> None:
        rows_on_disk = np.load(path, mmap_mode="r")
        gram = np.zeros((FEATURES + 2, FEATURES + 2))
        for start in range(0, rows, BLOCK):
            part = rows_on_disk[start : start + BLOCK]
            block = np.ones((len(part), FEATURES + 2))
            block[:, :-1] = part
            gram += block.T @ block
        keep = [*range(FEATURES), FEATURES + 1]
        kept["numpy"] = np.linalg.solve(gram[np.ix_(keep, keep)], gram[keep, FEATURES])[:-1]

    held = np.load(path)
    X, y = np.ascontiguousarray(held[:, :-1]), np.ascontiguousarray(held[:, -1])
    del held

    def in_ram() -> None:
        kept["sklearn"] = LinearRegression(copy_X=True).fit(X, y).coef_

    contestants = {"fast": ours("fast"), "high": ours("high"), "numpy": numpy_blocks, "sklearn": in_ram}
    times = measure(contestants)
    case = f"closed form, {rows / 1e6:g} M × {FEATURES} from .npy"
    for precision, target in (("fast", 3.0), ("high", 1.2)):
        peer = {"peer_name": "NumPy, float64 Gram matrix in blocks", "target": target, "floor": floor}
        emit(rates(f'{case}, "{precision}"', times, rows, precision, "numpy", **peer))
        peer = {"peer_name": "scikit-learn LinearRegression in RAM", "target": 15.0, "floor": floor}
        emit(rates(f'{case}, "{precision}"', times, rows, precision, "sklearn", **peer))
        model = kept[precision]
        off, bound = distance(model.coef_, exact), model.accuracy_.relative_error
        printed = "the bound that it printed"
        emit(
            figure(f'"{precision}": error of the coefficients', off, bound, peer_name=printed, unit="error", target=1.0)
        )
    say(f"errors: NumPy {distance(kept['numpy'], exact):.2g}, scikit-learn {distance(kept['sklearn'], exact):.2g}")


def sgd(path: Path, rows: int, floor: float) -> None:
    """One pass of SGD in batches of 4096 beside scikit-learn's, and Vowpal Wabbit from its cache where it is."""
    from sklearn.linear_model import SGDRegressor

    exact = (
        tw.linear.LeastSquares(dtype="float64")
        .fit_stream(tw.data.stream(path, target=FEATURES))
        .coef_.astype(np.float64)
    )
    kept: dict[str, Any] = {}

    def ours(shuffle: Any) -> Callable[[], None]:
        def fit() -> None:
            source = tw.data.stream(path, target=FEATURES, batch_size=BATCH, shuffle=shuffle)
            kept[str(shuffle)] = tw.linear.LeastSquares("sgd", epochs=1).fit_stream(source).coef_

        return fit

    def theirs() -> None:
        rows_on_disk = np.load(path, mmap_mode="r")
        model = SGDRegressor(alpha=0.0, penalty=None, learning_rate="invscaling", eta0=0.005, random_state=0)
        for start in range(0, rows, BATCH):
            part = rows_on_disk[start : start + BATCH]
            model.partial_fit(part[:, :-1], part[:, -1])
        kept["sklearn"] = model.coef_

    times = measure({"ours": ours(False), "shuffled": ours("block"), "sklearn": theirs})
    case = f"SGD, one pass of {rows / 1e6:g} M rows, batch {BATCH}, from .npy"
    peer = {"peer_name": "scikit-learn SGDRegressor.partial_fit", "target": 2.0, "floor": floor}
    emit(rates(f"{case}, as they lie", times, rows, "ours", "sklearn", **peer))
    emit(rates(f'{case}, shuffle="block"', times, rows, "shuffled", "sklearn", **peer))
    for name, label in (("False", "as they lie"), ("block", 'shuffle="block"')):
        off, other = distance(kept[name], exact), distance(kept["sklearn"], exact)
        case = f"SGD, {label}: error of the coefficients"
        emit(figure(case, off, other, peer_name="scikit-learn's", unit="error", target=None))


def vowpal_wabbit(path: Path, rows: int, floor: float) -> None:
    """One pass of SGD beside Vowpal Wabbit over its own cache, a quarter of the rows (it is a line of text per row)."""
    try:
        from vowpalwabbit import Workspace
    except ImportError:
        say("Vowpal Wabbit is not installed: `pip install vowpalwabbit`; its line is left out")
        return
    few = rows // 4
    rows_on_disk = np.load(path, mmap_mode="r")
    folder = path.parent
    part = folder / "quarter.npy"
    np.save(part, rows_on_disk[:few])
    text = folder / "rows.vw"
    with text.open("w") as out:
        for row in rows_on_disk[:few]:
            out.write(f"{row[-1]:.7g} | " + " ".join(f"{j}:{value:.7g}" for j, value in enumerate(row[:-1])) + "\n")
    settings = f"--quiet --loss_function squared --cache_file {folder / 'rows.cache'} -d {text}"
    Workspace(settings + " -k").finish()  # writes the cache

    def theirs() -> None:
        Workspace(settings).finish()

    def ours() -> None:
        source = tw.data.stream(part, target=FEATURES, batch_size=BATCH, shuffle=False)
        tw.linear.LeastSquares("sgd", epochs=1).fit_stream(source)

    times = measure({"ours": ours, "vw": theirs})
    case = f"SGD, one pass of {few / 1e6:g} M rows, batch {BATCH}, from .npy"
    emit(rates(case, times, few, "ours", "vw", peer_name="Vowpal Wabbit, its cache", target=6.0, floor=floor))


PARTS = {"closed_form": closed_form, "sgd": sgd, "vowpal_wabbit": vowpal_wabbit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--folder", type=Path, help="where the file goes; by default a temporary folder")
    arguments = parser.parse_args()
    if not all_known("linear", arguments.parts, PARTS):
        raise SystemExit(2)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "rows.npy"
        make(path, arguments.rows)
        speed = bandwidth(path)
        floor = speed / (4 * (FEATURES + 1))
        say(f"reading the file: {speed / 1e9:.2f} GB/s, so that at most {floor / 1e6:.0f} M rows/s can be had from it")
        for part in arguments.parts or PARTS:
            PARTS[part](path, arguments.rows, floor)


if __name__ == "__main__":
    main()
