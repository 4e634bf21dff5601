"""Many cases: finding them, segmenting them one after the other, and reporting."""
