"""The result of a run, how it was made, and the files that it is written to."""
