"""Images of patients: grids, volumes, and the readers of each file format."""
