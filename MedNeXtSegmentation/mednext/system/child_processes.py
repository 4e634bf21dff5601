"""The environment of our child processes, and the protection of our own ones from other users."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])

# The variables that Python, torch, the accelerators' drivers, the network and this program read. All others
# stay behind: a parent's environment often holds the keys of cloud services and the tokens of other programs.
_NAMES = """
    PATH HOME USER LOGNAME LANG LANGUAGE TZ TERM DISPLAY WAYLAND_DISPLAY TMPDIR TEMP TMP VIRTUAL_ENV
    LD_LIBRARY_PATH LD_PRELOAD SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NETRC
    HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY PROGRAMFILES COMMONPROGRAMFILES PROGRAMDATA
    SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT APPDATA LOCALAPPDATA USERPROFILE USERNAME USERDOMAIN
    HOMEDRIVE HOMEPATH ALLUSERSPROFILE PUBLIC COMPUTERNAME NUMBER_OF_PROCESSORS OS CC CXX
"""
_PREFIXES = """
    LC_ XDG_ DYLD_ PYTHON PROCESSOR_ PROGRAMFILES( COMMONPROGRAMFILES( SLICER_ MEDNEXT_
    CUDA_ NVIDIA_ CUBLAS_ CUDNN_ NCCL_ HIP_ HSA_ ROCR_ AMD_ GPU_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ BLIS_ VECLIB_
    NUMEXPR_ ONEDNN_ DNNL_ GLIBC_ MALLOC_ TORCH PYTORCH_ TRITON_ ATEN_ ITK_ SITK_ RAY_
"""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|DICOMWEB|COOKIE")


def child_environment(
    variables: Mapping[str, str] | None = None, secrets: Sequence[str] = ()
) -> dict[str, str]:
    """The environment of a child process that runs a module of this package.

    It has the variables that the engine may need, and none that holds a secret: credentials reach a child
    through its standard input. The child finds this package, and looks for no module in the current folder,
    which may be a stranger's.

    variables: of the parent; by default those of this process.
    secrets: names of secret variables that this child needs nevertheless.
    """
    known = os.environ if variables is None else variables
    kept = {name: value for name, value in known.items() if name in secrets or _is_needed(name)}
    return {**kept, **import_settings(kept)}


def import_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables by which a child finds this package, and no module in the current folder."""
    paths = [os.path.abspath(path) for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]  # noqa: PTH100 - links stay
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys([_PACKAGE_PARENT, *paths])), "PYTHONSAFEPATH": "1"}


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret, as far as its name says."""
    return _SECRET.search(name.upper()) is not None


def leave_deleted_folder() -> None:
    """Go to the root where the current folder is gone: there torch's libraries would end the process."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        os.chdir(os.sep)


def guard_this_process() -> None:
    """Protect this program at its start from other users of the computer; Windows does so by itself.

    A crash writes none of the voxels in its memory into a file. Others may not change its files, also where
    the user's umask would let them: models decide what is segmented. A current folder that was deleted is
    left.
    """
    leave_deleted_folder()
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.umask(os.umask(0o077) | stat.S_IWOTH)


def _is_needed(name: str) -> bool:
    upper = name.upper()
    is_known = upper in _NAMES.split() or upper.startswith(tuple(_PREFIXES.split()))
    return is_known and not is_secret(name)
