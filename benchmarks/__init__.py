"""Speed measured side by side, in one run, as ratios. Nothing here asserts a time."""
