"""Whether a process is still there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _QUERY, _ACCESS_DENIED, _STILL_ACTIVE = 0x1000, 5, 259

    def is_running(pid: int) -> bool:
        """Whether a process of this number runs, of whatever user."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = wintypes.HANDLE
        # os.kill(pid, 0) would send Ctrl+C on Windows.
        handle = kernel.OpenProcess(_QUERY, False, pid)
        if not handle:
            return ctypes.get_last_error() == _ACCESS_DENIED
        code = wintypes.DWORD()
        kernel.GetExitCodeProcess(wintypes.HANDLE(handle), ctypes.byref(code))
        kernel.CloseHandle(wintypes.HANDLE(handle))
        return code.value == _STILL_ACTIVE

else:

    def is_running(pid: int) -> bool:
        """Whether a process of this number runs, of whatever user."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return not _is_zombie(pid)

    def _is_zombie(pid: int) -> bool:
        """Whether the process has ended and only waits for its parent to notice; told by Linux alone."""
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return state.rpartition(")")[2].split()[:1] == ["Z"]
