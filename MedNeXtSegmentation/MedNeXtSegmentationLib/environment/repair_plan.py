"""The plan of a repair: the packages to install, by the findings of a check or by a quick look at files."""

from __future__ import annotations

import importlib
import importlib.machinery
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mednext.worker.environment_facts import OLDEST_TORCH, is_older
from slicer.i18n import tr as _

from .findings import Finding, Kind

REQUIREMENTS = Path(__file__).parents[2] / "Resources" / "requirements.txt"


@dataclass(frozen=True)
class RepairPlan:
    """The steps of a repair.

    Attributes:
        torch: install PyTorch.
        removeFrom: the folder of packages from which the old PyTorch is first removed; "" for none.
        packages: install the missing packages of `REQUIREMENTS`.
    """

    torch: bool = False
    removeFrom: str = ""
    packages: bool = False

    def __bool__(self) -> bool:
        return self.torch or self.packages


def repairPlanFor(findings: Iterable[Finding], sitePackages: str) -> RepairPlan:
    """The plan that repairs these findings; an empty one where none of them can be repaired.

    sitePackages: the folder of packages of the examined Python.
    """
    kinds = {finding.kind for finding in findings}
    broken = bool(kinds & {Kind.HALF_INSTALLED, Kind.WRONG_BUILD})
    return RepairPlan(
        torch=broken or Kind.NO_TORCH in kinds,
        removeFrom=sitePackages if broken else "",
        packages=bool(kinds & {Kind.NO_TORCH, Kind.MISSING_PACKAGE}),
    )


class TorchLook(Enum):
    """The state of PyTorch, judged by its files."""

    WHOLE = "whole"
    ABSENT = "absent"
    STRANGE = "strange"  # files without a record, a record without files, or too old


def lookAtTorch() -> TorchLook:
    """Judge PyTorch in milliseconds without importing it; damage inside its files stays unnoticed."""
    importlib.invalidate_caches()
    version = installedVersion("torch")
    # Not importlib.util: it asks sys.modules, which still lists a removed package.
    isThere = importlib.machinery.PathFinder.find_spec("torch") is not None
    if not isThere and version is None:
        return TorchLook.ABSENT
    isWhole = isThere and version is not None and not is_older(version, OLDEST_TORCH)
    return TorchLook.WHOLE if isWhole else TorchLook.STRANGE


def hasEngine() -> bool:
    """Whether the packages of the engine are there, whole or not. Takes milliseconds and imports none."""
    importlib.invalidate_caches()
    return all(importlib.machinery.PathFinder.find_spec(name) for name in ("torch", "safetensors"))


def installedVersion(distribution: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    import importlib.metadata  # slow to import, and opening the panel does not need it

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def missingRequirements() -> list[str]:
    """The requirements of `REQUIREMENTS` that no installed package meets."""
    from slicer import packaging

    required = packaging.load_requirements(REQUIREMENTS)
    return [str(requirement) for requirement in required if not packaging.pip_check(requirement)]


def question(plan: RepairPlan) -> str:
    """The question to the user before anything is installed."""
    parts = []
    if plan.torch:
        parts.append(
            _("PyTorch is removed and installed again.")
            if plan.removeFrom
            else _("To segment, PyTorch has to be installed once.")
        )
        parts.append(
            _(
                "Slicer's extension PyTorch chooses the one for this computer. It downloads some hundred "
                "megabytes, with an NVIDIA card a few gigabytes, which takes minutes."
            )
        )
    if plan.packages:
        parts.append(_("The package safetensors, less than a megabyte, is installed too."))
    parts.append(
        _("Everything goes into Slicer's own folder:\n{folder}").format(
            folder=plan.removeFrom or sysconfig.get_paths()["purelib"]
        )
    )
    return "\n\n".join(parts)
