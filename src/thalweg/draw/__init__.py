"""Figures from plain arrays.

Functions here take arrays and mappings and return a :class:`matplotlib.figure.Figure` that belongs to no pyplot window;
matplotlib is imported when the first one is called. Tables and :func:`terminal_curve` need no matplotlib at all.
"""

from thalweg.draw.cells import cell
from thalweg.draw.finder import finder
from thalweg.draw.history import history
from thalweg.draw.html import escape, html_table
from thalweg.draw.image_grid import image_grid
from thalweg.draw.loss_curve import loss_curve
from thalweg.draw.rates import rates
from thalweg.draw.schedule import schedule
from thalweg.draw.table import Table, batch_table
from thalweg.draw.terminal_curve import terminal_curve
from thalweg.draw.thin import thin

__all__ = [
    "Table",
    "batch_table",
    "cell",
    "escape",
    "finder",
    "history",
    "html_table",
    "image_grid",
    "loss_curve",
    "rates",
    "schedule",
    "terminal_curve",
    "thin",
]
