"""The packages that the engine needs in Slicer's Python: check, findings, repair, report."""
