"""Formulations of MedNeXt for training, and the weights to begin with."""
