"""Measure results against the labels of experts."""
