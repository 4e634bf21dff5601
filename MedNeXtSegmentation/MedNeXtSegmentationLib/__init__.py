"""The Slicer side of MedNeXtSegmentation: between MRML nodes and the engine `mednext`."""
