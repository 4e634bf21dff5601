"""The description of an image besides its voxels: its name, its DICOM attributes, its patient."""
