"""The loss surface: lines, planes and curvature of a model's loss over data, without touching the model."""

from .line import Line, interpolation, line, random_line
from .plane import Plane, plane

__all__ = ["Line", "Plane", "interpolation", "line", "plane", "random_line"]
