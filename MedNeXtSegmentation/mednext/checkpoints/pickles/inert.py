"""Values of classes that are not known here: they are passed over, and their classes are never looked up.

Training programs put their settings beside the weights, as objects of classes of their own. Such an object
becomes an `Inert`: calling it gives another, and a state or items given to it vanish. In the end the entries
that hold one are removed. A name that could harm if it were called is not passed over, as only an attack asks
for it.
"""

from __future__ import annotations

import sys
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LIGHTNING = b"pytorch-lightning_version"  # a key of every checkpoint of Lightning

# Classes of Python itself that hold settings, in files of any program.
_SETTINGS = frozenset(
    f"{module}.{name}"
    for modules, names in (
        ("argparse", "Namespace"),
        ("collections", "defaultdict deque"),
        ("datetime", "date datetime time timedelta timezone"),
        ("pathlib pathlib._local", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"),
        ("builtins __builtin__", "bool dict float int list long object str tuple unicode"),
        ("types", "SimpleNamespace"),
    )
    for module in modules.split()
    for name in names.split()
)
_SETTINGS_OF_LIGHTNING = frozenset(("functools.partial", "uuid.UUID", "typing.Any", "typing.Union"))
_PASSED_OVER = ("torch.nn.modules.", "torch.optim.")
# Packages whose functions load or run code, and those whose state a file could damage.
_REFUSED = frozenset(
    (
        *sys.stdlib_module_names,
        *(module.split(".")[0] for module in IMPORT_MAPPING),  # the same of Python 2, under which torch saves
        *("__builtin__", "commands", "exceptions", "imp", "new", "popen2", "user"),
        *("torch", "numpy", "scipy", "pandas", "mednext", "mednext_training", "MedNeXtSegmentationLib"),
        *("slicer", "qt", "vtk", "ctk", "pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils"),
        *("IPython", "cloudpickle", "dill", "joblib", "pydoc", "nt", "posix", "numba", "sympy"),
    )
)


@dataclass(frozen=True)
class Inert:
    """Something of a class that is not known here."""

    name: str


def passing_over(pickled: bytes | bytearray) -> Callable[[str], bool]:
    """Return a function that decides whether an unknown name in this pickle is passed over.

    In files of Lightning these are the classes of any package but the refused ones.
    """
    of_lightning = _LIGHTNING in pickled

    def is_passed_over(name: str) -> bool:
        if name in _SETTINGS:
            return True
        if not of_lightning:
            return False
        harmless = name in _SETTINGS_OF_LIGHTNING or name.startswith(_PASSED_OVER)
        return harmless or name.split(".", maxsplit=1)[0] not in _REFUSED

    return is_passed_over


def without_inert(value: Any, removed: list[str]) -> Any:
    """The value, from which the entries of dictionaries that hold an `Inert` are removed.

    Args:
        value: a finite tree, see `check_tree`.
        removed: gets the key and the class of each entry.

    Raises:
        ValueError: the whole value is one.
    """
    found = _found(value, removed, {})
    if found:
        raise ValueError(
            f"an object of {found.name} instead of weights; save the state_dict() of the network instead"
        )
    return value


def _found(value: Any, removed: list[str], known: dict[int, Inert | None]) -> Inert | None:
    """The `Inert` that a value is, or holds outside of dictionaries; dictionaries lose such entries."""
    if isinstance(value, Inert):
        return value
    if not isinstance(value, dict | list | tuple):
        return None
    if id(value) not in known:
        if isinstance(value, dict):
            known[id(value)] = None
            found = {key: _found(item, removed, known) for key, item in value.items()}
            for key, inert in found.items():
                if inert:
                    del value[key]
                    removed.append(f"{key} ({inert.name})")
        else:
            inner = [_found(item, removed, known) for item in value]
            known[id(value)] = next(filter(None, inner), None)
    return known[id(value)]
