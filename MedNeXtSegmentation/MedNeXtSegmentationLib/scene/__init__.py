"""Between MRML nodes and what the engine takes and gives."""
