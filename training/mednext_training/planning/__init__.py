"""nnU-Net's plans and splits of a data set."""
