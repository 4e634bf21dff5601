"""Pickles and torch files, read without running anything that they ask for."""
