"""What the stand-in raises where Slicer, PythonQt or a waiting user would have been in the way."""

from __future__ import annotations


class StandInError(Exception):
    """The code under test does what PythonQt or Slicer would refuse, or waits for a user who is not there."""
