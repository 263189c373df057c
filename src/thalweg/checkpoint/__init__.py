"""Files of a run: written whole or not at all, read without pickle."""

from .background import BackgroundWriter
from .folder import load, save
from .links import check_links
from .lock import RunLock
from .manifest import FORMAT, read_manifest, verify
from .newest import checkpoints, clear_leftovers, latest, load_newest, name_of, step_of
from .rng import restore_rng, snapshot_rng
from .tree import flatten, unflatten
from .whole import write_text, write_whole

__all__ = [
    "FORMAT",
    "BackgroundWriter",
    "RunLock",
    "check_links",
    "checkpoints",
    "clear_leftovers",
    "flatten",
    "latest",
    "load",
    "load_newest",
    "name_of",
    "read_manifest",
    "restore_rng",
    "save",
    "snapshot_rng",
    "step_of",
    "unflatten",
    "verify",
    "write_text",
    "write_whole",
]
