"""A run: output, folds, memory, button and progress."""
