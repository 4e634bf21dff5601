"""Processes of the engine as Slicer uses them: the worker, commands, and runs to wait for and to cancel."""
