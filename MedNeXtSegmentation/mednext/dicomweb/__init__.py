"""A hospital's archive over DICOMweb: find series, retrieve them whole, store results."""
