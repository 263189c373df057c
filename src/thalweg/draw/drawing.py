"""The figure class that is returned: a matplotlib figure that a notebook can show without pyplot.

This file imports matplotlib at its top and is itself imported by :func:`thalweg.draw.style.figure` only when the first
figure is drawn, so that ``import thalweg`` stays cheap.
"""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Drawing"]

_CSS_PIXELS_PER_INCH = 96


class Drawing(Figure):
    """A :class:`matplotlib.figure.Figure` with a picture of itself.

    IPython knows how to show a plain ``Figure`` only once pyplot has been imported; this one carries the picture, at
    the figure's own density and marked with its width in CSS pixels so that it stays sharp.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        if not hasattr(self.canvas, "print_png"):
            FigureCanvasAgg(self)
        target = io.BytesIO()
        self.savefig(target, format="png")
        width, height = self.get_size_inches()
        return target.getvalue(), {
            "width": round(float(width) * _CSS_PIXELS_PER_INCH),
            "height": round(float(height) * _CSS_PIXELS_PER_INCH),
        }
