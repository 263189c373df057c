"""Figures from plain arrays.

Functions here take arrays and mappings and return a :class:`matplotlib.figure.Figure` that belongs to no pyplot window;
matplotlib is imported when the first one is called. Tables and :func:`terminal_curve` need no matplotlib at all.
"""

from thalweg.draw.bar import Bar, in_notebook
from thalweg.draw.cells import cell
from thalweg.draw.contour import contour
from thalweg.draw.finder import finder
from thalweg.draw.history import history
from thalweg.draw.html import escape, html_table
from thalweg.draw.image_grid import image_grid
from thalweg.draw.lines import lines
from thalweg.draw.loss_curve import loss_curve, spans_decades
from thalweg.draw.rates import rates
from thalweg.draw.schedule import schedule
from thalweg.draw.section import section
from thalweg.draw.spectrum import spectrum
from thalweg.draw.surface3d import plane_and_surface, surface3d
from thalweg.draw.table import Table, batch_table
from thalweg.draw.table_figure import table_figure
from thalweg.draw.terminal_curve import terminal_curve
from thalweg.draw.thin import thin

__all__ = [
    "Bar",
    "Table",
    "batch_table",
    "cell",
    "contour",
    "escape",
    "finder",
    "history",
    "html_table",
    "image_grid",
    "in_notebook",
    "lines",
    "loss_curve",
    "plane_and_surface",
    "rates",
    "schedule",
    "section",
    "spans_decades",
    "spectrum",
    "surface3d",
    "table_figure",
    "terminal_curve",
    "thin",
]
