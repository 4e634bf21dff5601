"""The images of a run: selectors, what goes into them, and what speaks against it."""
