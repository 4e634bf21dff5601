"""What the engine needs in Slicer's Python: what is there, what is wrong with it, and how it is repaired."""
