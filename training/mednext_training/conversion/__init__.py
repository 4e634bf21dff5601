"""From the files of a challenge, or of anybody, to a checked data set in nnU-Net's raw layout."""
