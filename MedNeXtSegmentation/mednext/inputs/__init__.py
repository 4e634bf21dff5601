"""The images of a run: which channel each is, and whether it is what the model takes."""
