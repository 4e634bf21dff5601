"""From volume nodes to the channels of a run: voxels, place, description, region."""
