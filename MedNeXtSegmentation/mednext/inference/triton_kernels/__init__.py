"""Triton kernels that sum predictions."""
