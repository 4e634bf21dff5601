"""The models on this computer: the catalog, downloads, archives, and finding a model by its name."""
