"""The images of a run: selectors, automatic choice, and checks."""
