"""``report.html`` of a run directory."""

from __future__ import annotations

from pathlib import Path

from thalweg.checkpoint import write_text
from thalweg.report.page import page
from thalweg.report.run_files import read_run

__all__ = ["build"]


def build(run_dir: Path | str) -> Path:
    """Write the one-file report of a run and return its path.

    Only the directory's files are read (see :mod:`thalweg.report.run_files`), so that a report can be made again at
    any time and on any machine. The page needs no network. It is written whole or not at all, and the same files give
    the same page, byte for byte.

    Args:
        run_dir: the directory that a run wrote.

    Returns:
        ``run_dir/report.html``.

    Raises:
        ValueError: the directory is missing, holds no run, holds a damaged file, or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "history.csv").write_text("step,loss\\n1,2.5\\n2,2.25\\n")
    ...     path = build(folder)
    ...     path.name, "2 updates: first 2.5, last 2.25" in path.read_text()
    ('report.html', True)
    """
    text = page(read_run(run_dir))
    path = Path(run_dir) / "report.html"
    try:
        write_text(path, text)
    except OSError as error:
        raise ValueError(
            f"report: {path} cannot be written ({error.strerror}); make the run directory writable, or copy it to a "
            "place that is."
        ) from error
    return path
