"""The one-file, offline page of a run: ``report.html``."""

from thalweg.report.build import build
from thalweg.report.run_files import RunFiles, read_run

__all__ = ["RunFiles", "build", "read_run"]
