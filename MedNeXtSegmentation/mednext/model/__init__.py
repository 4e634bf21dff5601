"""A model as a bundle: its description, its labels and its files of weights."""
