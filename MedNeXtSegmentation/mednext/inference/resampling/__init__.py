"""Resampling between the grid of an image and that of a model."""
