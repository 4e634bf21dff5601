"""Exports from Slicer's scene, written outside of Slicer's process."""
