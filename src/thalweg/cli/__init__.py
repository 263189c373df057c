"""The command ``thalweg``: one file per command."""

from .app import app
from .main import main

__all__ = ["app", "main"]
