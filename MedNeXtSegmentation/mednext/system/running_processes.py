"""Whether a process still runs, and signatures of processes for the names of their files."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import sys
from pathlib import Path

_SIGNATURE = re.compile(r"([0-9a-f]{8})-(\d{1,10})(?!\d)")


def signature() -> str:
    """The signature of this process, for the names of its temporary files."""
    return f"{_here()}-{os.getpid()}"


def has_ended(name: str) -> bool | None:
    """Whether the process whose signature a name contains has ended.

    None where that is not known: without a signature, and for processes of other computers and containers,
    which may share a folder.
    """
    match = _SIGNATURE.search(name)
    return not is_running(int(match[2])) if match is not None and match[1] == _here() else None


@functools.cache
def _here() -> str:
    """A hash of the computer or container within which process numbers are unique."""
    identity = platform.node()
    for place in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            path = Path(place)
            identity += str(path.readlink()) if path.is_symlink() else path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # another operating system
    return hashlib.sha256(identity.encode(errors="replace")).hexdigest()[:8]


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
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        return not _is_zombie(pid)

    def _is_zombie(pid: int) -> bool:
        """Whether the process has ended but its parent has not noticed yet; known on Linux only."""
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return state.rpartition(")")[2].split()[:1] == ["Z"]
