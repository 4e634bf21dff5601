"""`python -m mednext.worker` is the engine in a process of its own."""

from __future__ import annotations

import sys

from .serving import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
