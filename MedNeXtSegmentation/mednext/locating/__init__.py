"""Find the place of a model's structure in a whole image, and segment both sides there."""
