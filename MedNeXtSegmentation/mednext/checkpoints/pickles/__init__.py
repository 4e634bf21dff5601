"""Read pickles and torch files without running any code that they name."""
