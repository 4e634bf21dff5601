"""MedNeXt's blocks as Triton kernels. Triton is optional: only functions of `triton.py` import this."""
