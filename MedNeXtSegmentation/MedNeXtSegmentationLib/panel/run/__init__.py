"""A run: what it makes, what it takes, its button and its progress."""
