"""Files of a run: written whole or not at all, read without pickle."""

from .folder import latest, load, save
from .rng import restore_rng, snapshot_rng
from .tree import flatten, unflatten
from .whole import write_text, write_whole

__all__ = ["flatten", "latest", "load", "restore_rng", "save", "snapshot_rng", "unflatten", "write_text", "write_whole"]
