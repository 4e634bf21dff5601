"""Results in a browser: slices, 3D and the list of segments, served to this computer only."""
