"""Texts as the data of a recipe: characters to go on with, and pairs to translate."""

from .characters import characters, tinyshakespeare
from .translation import translation

__all__ = ["characters", "tinyshakespeare", "translation"]
