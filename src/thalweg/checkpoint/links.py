"""Links in a run directory, through which a run would write somewhere else."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["check_links"]


def check_links(run: Path) -> None:
    """Raise where something in a run directory is a link to somewhere outside of it.

    A run writes, renames and removes below its directory only. The directory itself may be reached through links.

    Args:
        run: the run directory; one that is not there has no links.

    Raises:
        ValueError: naming the first link and where it leads.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "checkpoints").symlink_to("/elsewhere")
    ...     try:
    ...         check_links(Path(folder))
    ...     except ValueError as error:
    ...         print(str(error).split(": ")[1].split(",")[0])
    checkpoints is a link to /elsewhere
    """
    home = Path(os.path.realpath(run))
    for folder, folders, files in os.walk(run):
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            if path.is_symlink() and home not in Path(os.path.realpath(path)).parents:
                raise ValueError(
                    f"run directory {run}: {path.relative_to(run)} is a link to {os.readlink(path)}, outside of it, "
                    "where a run would then write and remove files; put the run where there is room for it, or remove "
                    "the link."
                )
