"""The error of code that would fail or block in Slicer."""

from __future__ import annotations


class StandInError(Exception):
    """PythonQt or Slicer would refuse the code under test, or it waits for a user in vain."""
