# %% [markdown]
# # A hundred million rows
#
# Writes N × 40 float32 and a target into a folder, and solves them by one pass of the closed form and by one pass of
# SGD, with progress, rows per second, and the memory it took. 100 million rows are 16.4 GB:
#
#     python examples/hundred_million.py FOLDER 100_000_000
#
# Without arguments it takes 200,000 rows in a temporary folder.

# %%
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import thalweg as tw

COLUMNS = 40
ARGUMENTS = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
IS_TEMPORARY = not ARGUMENTS or "ipykernel" in sys.modules
FOLDER = Path(tempfile.mkdtemp() if IS_TEMPORARY else ARGUMENTS[0])
ROWS = int(ARGUMENTS[1]) if len(ARGUMENTS) > 1 and not IS_TEMPORARY else 200_000
TRUTH = np.linspace(-1, 1, COLUMNS)


# %% [markdown]
# ## Writing
#
# Block by block, seeded by the block's number, so that no more than a block is in memory. A disk that fills is an error
# that says so, and leaves no half-written file behind.


# %%
def write(path: Path, rows: int) -> None:
    """Write the rows under another name and rename it when they are all there."""
    need, free = rows * (COLUMNS + 1) * 4, shutil.disk_usage(path.parent).free
    if need > free:
        raise OSError(
            f"hundred_million: {rows:,} rows take {need / 1e9:.1f} GB and {path.parent} has {free / 1e9:.1f} GB left; "
            "give another folder, or fewer rows."
        )
    part = path.with_suffix(".part")
    block = 1 << 18
    try:
        with part.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, COLUMNS + 1)}
            np.lib.format.write_array_header_2_0(file, header)
            began = time.perf_counter()
            for number, start in enumerate(range(0, rows, block)):
                rng = np.random.default_rng(number)
                here = rng.standard_normal((min(block, rows - start), COLUMNS + 1), dtype=np.float32)
                here[:, -1] = here[:, :-1] @ TRUTH.astype(np.float32) + 1 + here[:, -1] / 2
                file.write(here.data)
                if number % 32 == 31:
                    rate = (start + len(here)) / (time.perf_counter() - began)
                    print(f"written {start + len(here):,} of {rows:,} rows, {rate:,.0f} rows/s", flush=True)
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(
            f"hundred_million: {part} could not be written to its end ({error.strerror}), and was removed; give a "
            "folder with more room, or fewer rows."
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


FOLDER.mkdir(parents=True, exist_ok=True)
path = FOLDER / f"rows-{ROWS}.npy"
if not path.exists():
    write(path, ROWS)
print(f"{path.name}: {path.stat().st_size / 1e9:.2f} GB")


# %% [markdown]
# ## Solving


# %%
def anonymous_memory() -> float:
    """Return the resident memory that is no page of a file, in MB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def timed(name: str, model: Any, **settings: Any) -> Any:
    """Fit the model to the stream and say how fast, how well, and in how much memory, looked at ten times a second."""
    source = tw.data.stream(path, target=COLUMNS, **settings)
    done, seen = threading.Event(), [anonymous_memory()]

    def watch() -> None:
        while not done.wait(0.1):
            seen.append(anonymous_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.perf_counter()
    try:
        model.fit_stream(source)
    finally:
        done.set()
        watcher.join()
    seconds = time.perf_counter() - began
    middle = seen[len(seen) // 2 :]
    off = np.linalg.norm(model.coef_ - TRUTH) / np.linalg.norm(TRUTH)
    print(
        f"{name}: {ROWS / seconds / 1e6:.2f} M rows/s ({seconds:.1f} s), {off:.1e} from the truth, "
        f"{max(seen):.0f} MB of anonymous memory at most ({min(middle):.0f} to {max(middle):.0f} in the second half)",
        flush=True,
    )
    return model


try:
    fast = timed('closed form, "fast"', tw.linear.LeastSquares(precision="fast", verbose=True))
    print(f"  {fast.accuracy_}")
    high = timed('closed form, "high"', tw.linear.LeastSquares(verbose=True))
    print(f"  {high.accuracy_}; R² {high.r2_:.6f}, largest standard error {high.standard_errors_.max():.1e}")
    sgd = tw.linear.LeastSquares("sgd", epochs=1, verbose=True)
    timed("SGD, one pass, batch 4096, blocks shuffled", sgd, batch_size=4096)
finally:
    if IS_TEMPORARY:
        shutil.rmtree(FOLDER, ignore_errors=True)
