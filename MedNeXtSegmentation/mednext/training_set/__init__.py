"""Corrected results as cases of a training set in nnU-Net's raw layout."""
