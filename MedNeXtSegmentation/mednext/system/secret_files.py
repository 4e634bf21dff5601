"""Files with keys: only their owner should be able to read them."""

from __future__ import annotations

import logging
import stat
import sys
from pathlib import Path

_OTHERS_MAY_READ = 0o044


def tell_others_may_read(path: Path, log: logging.Logger) -> None:
    """Log a warning where other users of this computer may read a file, with the remedy.

    Says nothing on Windows, which has no modes. Raises OSError for a file that is not there.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if sys.platform != "win32" and mode & _OTHERS_MAY_READ:
        log.warning("Other users of this computer may read %s (mode %04o): chmod go-r it.", path, mode)
