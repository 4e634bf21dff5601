"""The file formats that volumes are read from and segmentations are written to."""
