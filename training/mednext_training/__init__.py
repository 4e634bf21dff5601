"""Training of MedNeXt on nnU-Net v2: the weights that the engine reads."""
