"""MedNeXt's blocks as Triton kernels. Only `triton_network.py` imports them: Triton is not everywhere."""
