"""The loss surface: lines, planes, paths and curvature of a model's loss over data, without touching the model."""

from .curvature import Curvature, curvature, hutchinson, noise_scale
from .direction import filter_normalised, random_direction
from .facts import Facts
from .hessian import Hessian
from .lanczos import Eigenpairs, eigenpairs
from .landscape import Landscape, Trained, landscape
from .line import Line, interpolation, line, random_line
from .plane import Plane, plane
from .recorder import PathRecorder
from .section import Section, section
from .trajectory import trajectory

__all__ = [
    "Curvature",
    "Eigenpairs",
    "Facts",
    "Hessian",
    "Landscape",
    "Line",
    "PathRecorder",
    "Plane",
    "Section",
    "Trained",
    "curvature",
    "eigenpairs",
    "filter_normalised",
    "hutchinson",
    "interpolation",
    "landscape",
    "line",
    "noise_scale",
    "plane",
    "random_direction",
    "random_line",
    "section",
    "trajectory",
]
