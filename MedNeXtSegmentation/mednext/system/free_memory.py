"""Free memory and disk space of the machine, measured without any package."""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

_GROUP_V1 = ("memory.usage_in_bytes", "memory.limit_in_bytes")
_GROUP_V2 = ("memory.current", "memory.max", "memory.high")  # beyond "high" a process nearly stands still
_IN_MEMORY = ("tmpfs", "ramfs")
_FREE_PAGES = ("vm.page_free_count", "vm.page_purgeable_count", "vm.page_pageable_external_count")


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that programs may still take without swapping, within the limits of a container or a job.

    None if unknown. `root` holds "proc" and "sys" on Linux.
    """
    if sys.platform == "linux":
        return _free_on_linux(root)
    if sys.platform == "win32":
        return _free_on_windows("ullAvailPhys")
    return _free_on_macos() if sys.platform == "darwin" else None


def obtainable_memory(root: Path = Path("/")) -> int | None:
    """Bytes that programs may still take if they swap; a program that needs more fails or is killed.

    On macOS, which swaps without a fixed limit, the installed memory.
    """
    if sys.platform == "linux":
        return _free_on_linux(root, swapping=True)
    if sys.platform == "win32":
        return _free_on_windows("ullAvailPageFile")
    return _sysctl("hw.memsize") if sys.platform == "darwin" else None


def free_disk(folder: Path) -> int | None:
    """Free bytes on the disk of a folder; None if unknown."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def lies_in_memory(folder: Path, root: Path = Path("/")) -> bool:
    """Whether the files of a folder take memory, as those in /tmp do on many Linux systems."""
    try:
        lines = (root / "proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    kinds = {Path(place): kind for _, place, kind, *_ in (line.split(" ") for line in lines)}
    place = folder.resolve()
    return next((kinds[each] for each in (place, *place.parents) if each in kinds), "") in _IN_MEMORY


def _free_on_linux(root: Path, swapping: bool = False) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines)}
        free = int(kib["MemAvailable"]) * 1024
        free += int(kib.get("SwapFree", 0)) * 1024 if swapping else 0
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return min([free, *_left_in_groups(root), *_left_to_process(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """The bytes that each control group of this process (container, job, user) has left.

    Cached files count as free, as in MemAvailable.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    v1, v2 = root / "sys/fs/cgroup/memory", root / "sys/fs/cgroup"
    own = {v1: "", v2: ""}
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if "memory" in controllers.split(","):
            own[v1] = path
        elif not controllers:
            own[v2] = path
    for mount, path in own.items():
        names, cached = (_GROUP_V1, "total_inactive_file") if mount is v1 else (_GROUP_V2, "inactive_file")
        within = PurePosixPath(path.strip("/"))
        for group in (within, *within.parents):  # a group's limit holds for all groups below it
            for limit_file in names[1:]:
                left = _left_in_group(mount / group, names[0], limit_file, cached)
                if left is not None:
                    yield left


def _left_in_group(group: Path, used_file: str, limit_file: str, cached: str) -> int | None:
    try:
        limit = int((group / limit_file).read_text(encoding="ascii"))  # "max" where there is none
        used = int((group / used_file).read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        files = dict(line.split() for line in lines).get(cached, "0")
    except (OSError, ValueError):
        return None
    return max(0, limit - used + int(files))


def _left_to_process(root: Path) -> Iterator[int]:
    """The bytes that `ulimit -v` and `ulimit -d` leave; some clusters limit jobs with them."""
    import resource  # not on Windows

    for kind, name in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            lines = (root / "proc/self/status").read_text(encoding="utf-8").splitlines()
            kib = next(int(line.split()[1]) for line in lines if line.startswith(name))
            yield max(0, limit - 1024 * kib)


class _WindowsMemory(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        ("ullTotalPhys", ctypes.c_uint64),
        ("ullAvailPhys", ctypes.c_uint64),
        ("ullTotalPageFile", ctypes.c_uint64),
        ("ullAvailPageFile", ctypes.c_uint64),
        ("ullTotalVirtual", ctypes.c_uint64),
        ("ullAvailVirtual", ctypes.c_uint64),
        ("ullAvailExtendedVirtual", ctypes.c_uint64),
    )


def _free_on_windows(kind: str) -> int | None:
    status = _WindowsMemory(dwLength=ctypes.sizeof(_WindowsMemory))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - only Windows has it
    return int(getattr(status, kind)) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _free_on_macos() -> int | None:
    return macos_free({name: _sysctl(name) for name in (*_FREE_PAGES, "hw.pagesize")})


def macos_free(counts: Mapping[str, int | None]) -> int | None:
    """Free, purgeable and file-backed pages in bytes. Memory that macOS could compress does not count."""
    size, free = counts["hw.pagesize"], counts["vm.page_free_count"]
    if not size or free is None:
        return None
    return size * sum(counts[name] or 0 for name in _FREE_PAGES)


def _sysctl(name: str) -> int | None:
    """A number from the kernel of macOS, which fills four or eight bytes."""
    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else int(value.value)
