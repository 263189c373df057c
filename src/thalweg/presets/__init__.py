"""Presets: the usual settings for training sequence models, each with a line on where it comes from."""

from .adafactor import adafactor
from .fine_tuning import fine_tuning
from .names import NAMES, make
from .preset import Preset
from .pretraining import pretraining
from .translation import translation

__all__ = ["NAMES", "Preset", "adafactor", "fine_tuning", "make", "pretraining", "translation"]
