"""The segments of a segmentation node: those that a model made, their voxels, corrections and history."""
