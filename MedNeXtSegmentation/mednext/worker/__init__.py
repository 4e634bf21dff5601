"""The engine in a process of its own, and the messages that Slicer exchanges with it."""
