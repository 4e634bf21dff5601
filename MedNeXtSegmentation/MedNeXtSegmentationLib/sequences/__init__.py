"""Sequences of volumes (4D): every frame is segmented, and the results make a sequence of segmentations."""
