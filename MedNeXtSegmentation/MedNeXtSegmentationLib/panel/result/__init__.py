"""The result: volumes, uncertain places, undo, files."""
