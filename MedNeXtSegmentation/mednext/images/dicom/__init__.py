"""DICOM series, read slice by slice."""
