"""Files of what lies in Slicer's scene, written outside of Slicer's process."""
