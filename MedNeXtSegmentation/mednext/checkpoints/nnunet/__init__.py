"""Import trainings of nnU-Net, version 1 and 2."""
