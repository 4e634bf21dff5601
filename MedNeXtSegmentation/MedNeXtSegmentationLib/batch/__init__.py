"""Many volumes, one after the other: those of a scene, those of a folder."""
