"""`python -m mednext` is the command `mednext`, for Slicer's Python, which has no scripts on the path."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
