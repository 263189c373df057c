"""Thalweg: the optimisation side of training PyTorch models, done right and seen."""
