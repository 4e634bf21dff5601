"""The memory of a run, planned before it begins."""
