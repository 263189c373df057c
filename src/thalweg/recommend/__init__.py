"""Recommendation from ratings: a table of ratings in, predictions and recommendations out, and a model one can read."""

from .axes import Axes
from .dot_product import DotProduct
from .effects import Effects
from .features import Features
from .figures import write_reading
from .gibbs import Draw, gibbs
from .history import HistoryDotProduct
from .lazy_rows import LazyRows, row_tables
from .listing import Listed, Listing
from .metrics import mae, ranking_metrics, rmse
from .movielens import movielens, movielens_pairs
from .neural import NeuralRecommender, embedding_size
from .ratings import Ratings
from .read import read_ratings
from .reading import Reading
from .recommender import Recommender
from .split import split_folds, split_fraction, split_leave_one_out, split_time
from .vocabulary import Vocabulary

__all__ = [
    "Axes",
    "DotProduct",
    "Draw",
    "Effects",
    "Features",
    "HistoryDotProduct",
    "LazyRows",
    "Listed",
    "Listing",
    "NeuralRecommender",
    "Ratings",
    "Reading",
    "Recommender",
    "Vocabulary",
    "embedding_size",
    "gibbs",
    "mae",
    "movielens",
    "movielens_pairs",
    "ranking_metrics",
    "read_ratings",
    "rmse",
    "row_tables",
    "split_folds",
    "split_fraction",
    "split_leave_one_out",
    "split_time",
    "write_reading",
]
