"""Between nodes of the scene and the engine: volumes out, results in, corrections exported."""
