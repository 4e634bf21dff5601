"""The result of a run, its provenance, and its file formats."""
