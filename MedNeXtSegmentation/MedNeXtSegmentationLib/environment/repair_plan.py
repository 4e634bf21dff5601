"""What has to be installed: told by the findings of a check, or by a quick look that imports nothing."""

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
    """What "Repair" does.

    Attributes:
        torch: install PyTorch.
        removeFrom: the folder of packages from which the old PyTorch is removed before; "" if there is none.
        packages: install the packages of `REQUIREMENTS`, as far as they are missing.
    """

    torch: bool = False
    removeFrom: str = ""
    packages: bool = False

    def __bool__(self) -> bool:
        return self.torch or self.packages


def repairPlanFor(findings: Iterable[Finding], sitePackages: str) -> RepairPlan:
    """What repairs these findings, as far as anything here does.

    sitePackages: where the Python that was looked at installs packages.
    """
    kinds = {finding.kind for finding in findings}
    broken = bool(kinds & {Kind.HALF_INSTALLED, Kind.WRONG_BUILD})
    return RepairPlan(
        torch=broken or Kind.NO_TORCH in kinds,
        removeFrom=sitePackages if broken else "",
        packages=bool(kinds & {Kind.NO_TORCH, Kind.MISSING_PACKAGE}),
    )


class TorchLook(Enum):
    """PyTorch by the look of its files."""

    WHOLE = "whole"
    ABSENT = "absent"
    STRANGE = "strange"  # files without a record, a record without files, or too old


def lookAtTorch() -> TorchLook:
    """Look in milliseconds, without importing anything; a deeper damage is not noticed."""
    importlib.invalidate_caches()
    version = installedVersion("torch")
    # Not importlib.util: that would ask sys.modules, which may still know what was removed.
    isThere = importlib.machinery.PathFinder.find_spec("torch") is not None
    if not isThere and version is None:
        return TorchLook.ABSENT
    isWhole = isThere and version is not None and not is_older(version, OLDEST_TORCH)
    return TorchLook.WHOLE if isWhole else TorchLook.STRANGE


def installedVersion(distribution: str) -> str | None:
    """The version of an installed package; None if there is none."""
    import importlib.metadata  # here: it brings modules for mail, and the panel is opened without

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def missingRequirements() -> list[str]:
    """The packages of `REQUIREMENTS` that are not there in a version that fits, as requirements."""
    from slicer import packaging

    required = packaging.load_requirements(REQUIREMENTS)
    return [str(requirement) for requirement in required if not packaging.pip_check(requirement)]


def question(plan: RepairPlan) -> str:
    """What the user agrees to before anything is installed."""
    parts = []
    if plan.torch:
        parts.append(
            _("PyTorch is removed and installed again.")
            if plan.removeFrom
            else _("To segment, PyTorch has to be installed once.")
        )
        parts.append(
            _(
                "Slicer's extension PyTorch chooses the one for this computer: some hundred megabytes are "
                "downloaded, with an NVIDIA card a few gigabytes, which takes minutes."
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
