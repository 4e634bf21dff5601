"""Import checkpoints that lie on servers: from an address, or of a model in the catalog."""
