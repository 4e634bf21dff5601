"""Stand-in for `slicer.testing`."""

from __future__ import annotations

import sys
import unittest


def exitSuccess() -> None:
    """Slicer would end here."""


def exitFailure(message: str = "") -> None:
    raise RuntimeError(message)


def runUnitTest(path: str | list[str], testname: str) -> None:
    """Run the unit tests of a module, as CTest makes Slicer do."""
    sys.path.extend([path] if isinstance(path, str) else path)
    suite = unittest.TestLoader().loadTestsFromName(testname)
    if not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful():
        exitFailure()
