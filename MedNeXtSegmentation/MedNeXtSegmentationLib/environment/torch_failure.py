"""The reason why PyTorch cannot be imported, as a sentence for users."""

from __future__ import annotations

import re
import signal

from mednext.worker.environment_facts import Facts
from slicer.i18n import tr as _

from .check import CheckResult

# "torch/include/ATen/native/transformers/cuda/mem_eff_attention/..." of torch 2.13.
LONGEST_NAME = 119
_LONGEST_PATH_OF_WINDOWS = 259

_LIBRARY_SIGNS = ("dll load failed", "winerror", ".dll", "cannot open shared object", ".so", "dlopen")


def failureOfTorch(result: CheckResult) -> str:
    """The sentence on a PyTorch that cannot be imported; "" if it can."""
    facts, torch = result.facts, result.facts.torch
    if not result.complete and facts.step in ("import torch", "use torch", "import the engine"):
        return _howItEnded(result.exit_code)
    if torch.error or (torch.trial_error and not torch.build):
        return _failedImport(facts, torch.error or torch.trial_error or "")
    return ""


def _howItEnded(exit_code: int | None) -> str:
    if exit_code is None:
        return _(
            "Importing PyTorch did not end: its files are damaged, or another program delays reading them."
        )
    return _("Importing PyTorch crashes ({how}).").format(how=_nameOf(exit_code))


def _nameOf(exit_code: int) -> str:
    """A signal's name, directly or through a launcher, or the number."""
    for number in (-exit_code, exit_code - 128):
        try:
            return signal.Signals(number).name
        except ValueError:
            continue
    return _("exit code {code}").format(code=hex(exit_code) if exit_code > 255 else exit_code)


def _failedImport(facts: Facts, error: str) -> str:
    error = shortened(error)
    if facts.system == "win32" and any(sign in error.casefold() for sign in _LIBRARY_SIGNS):
        return _(
            "A library of PyTorch cannot be loaded ({error}). If a repair does not help, install "
            "Microsoft's Visual C++ Redistributable (x64)."
        ).format(error=error)
    if any(sign in error.casefold() for sign in _LIBRARY_SIGNS):
        return _("A library of PyTorch cannot be loaded ({error}).").format(error=error)
    return _("PyTorch is installed only in part ({error}).").format(error=error)


def tooLongPaths(facts: Facts) -> str:
    """The sentence on a folder of Slicer whose path is too long for PyTorch on Windows; "" if it is not."""
    needed = len(facts.site_packages) + 1 + LONGEST_NAME
    if facts.long_paths is not False or needed <= _LONGEST_PATH_OF_WINDOWS:
        return ""
    return _(
        "PyTorch does not fit into {folder}: Windows allows paths of {longest} characters, and {needed} are "
        "needed."
    ).format(folder=facts.site_packages, longest=_LONGEST_PATH_OF_WINDOWS, needed=needed)


def shortened(text: str, length: int = 240) -> str:
    """The beginning of a text on one line; the diagnostics have the whole."""
    text = re.sub(r"\s+", " ", text).strip().rstrip(".")
    return text if len(text) <= length else f"{text[:length]}..."
