"""The file formats that segmentations are written to."""
