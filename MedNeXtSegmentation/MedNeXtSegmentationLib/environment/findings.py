"""The findings of a check: sentences for people, each with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mednext.worker.environment_facts import OLDEST_TORCH, Facts, is_older
from slicer.i18n import tr as _

from .check import CheckResult
from .torch_failure import failureOfTorch, shortened, tooLongPaths

_GIB = 1024
_LEAST_MIB = {"temporary": 2 * _GIB, "models": 1 * _GIB, "packages": 1 * _GIB}
_LEAST_MEMORY_MIB = 8 * _GIB


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Kind(Enum):
    """The subject of a finding; "Repair" handles all but OTHER."""

    NO_TORCH = "nothing there"
    HALF_INSTALLED = "half-installed"
    WRONG_BUILD = "wrong build"
    MISSING_PACKAGE = "missing package"
    OTHER = "other"


@dataclass(frozen=True)
class Finding:
    """A sentence, and the remedy if there is one."""

    level: Level
    text: str
    remedy: str = ""
    kind: Kind = Kind.OTHER


def findingsOf(result: CheckResult) -> list[Finding]:
    """All findings, PyTorch first."""
    if result.start_error:
        return [Finding(Level.ERROR, result.start_error)]
    facts = result.facts
    package = _packageThatEndedTheCheck(result)
    torch = [Finding(Level.ERROR, _howItEnded(result, package), _remedyOfPackage(package))] if package else []
    return [*(torch or _torch(result)), *_packages(facts), *_engine(facts), *_machine(facts)]


def _torch(result: CheckResult) -> list[Finding]:
    facts, torch = result.facts, result.facts.torch
    isThere, reason = bool(torch.folder or torch.version), failureOfTorch(result)
    tooLong = tooLongPaths(facts)
    if tooLong and (reason or not isThere):
        remedy = _(
            "Install Slicer in a folder with a shorter name such as C:/Slicer, or let Windows allow "
            "long paths."
        )
        return [Finding(Level.ERROR, tooLong, remedy)]
    if not isThere:
        text = _("PyTorch is not installed.")
        return [Finding(Level.ERROR, text, _('Press "Repair" to install it.'), Kind.NO_TORCH)]
    if reason:
        if _isForeign(facts):
            text = _("{reason} It comes from {folder}, outside of Slicer.")
            remedy = _("Take that folder out of the environment variable PYTHONPATH, and start Slicer again.")
            return [Finding(Level.ERROR, text.format(reason=reason, folder=torch.folder), remedy)]
        remedy = _('Press "Repair" to remove it and install it again.')
        return [Finding(Level.ERROR, reason, remedy, Kind.HALF_INSTALLED)]
    findings = [*_build(facts)]
    if _isForeign(facts):
        text = _("PyTorch {version} comes from {folder}, outside of Slicer.")
        remedy = _("If it causes errors, take that folder out of the environment variable PYTHONPATH.")
        text = text.format(version=torch.version, folder=torch.folder)
        findings.append(Finding(Level.WARNING, text, remedy))
    return findings


def _build(facts: Facts) -> list[Finding]:
    """The findings on a PyTorch that can be imported: its version, its build, its device."""
    torch, version = facts.torch, facts.torch.version or ""
    if is_older(version, OLDEST_TORCH):
        text = _("PyTorch {version} is too old: {oldest} or newer is needed.")
        text = text.format(version=version, oldest=OLDEST_TORCH)
        if facts.system == "darwin" and facts.machine == "x86_64":
            return [Finding(Level.ERROR, text, _("There is none for Macs with an Intel processor."))]
        return [Finding(Level.ERROR, text, _('Press "Repair" to install a newer one.'), Kind.WRONG_BUILD)]
    if torch.trial_error:
        text = _("PyTorch {version} ({build}) cannot compute here: {error}.")
        text = text.format(version=version, build=torch.build, error=shortened(torch.trial_error))
        remedy = _('Press "Repair" to install the one that fits this machine.')
        return [Finding(Level.ERROR, text, remedy, Kind.WRONG_BUILD)]
    if facts.nvidia_cards and not torch.cuda:
        return [_cardNotUsed(facts)]
    text = _("PyTorch {version} works, on {device}.")
    device = ", ".join(card.name for card in facts.devices) or _("the processor: there is no other device")
    return [Finding(Level.OK, text.format(version=version, device=device))]


def _cardNotUsed(facts: Facts) -> Finding:
    torch, card = facts.torch, facts.nvidia_cards[0]
    if torch.build == "cpu":
        text = _("PyTorch {version} is made for the processor only, so the card {card} is not used.")
        text = text.format(version=torch.version, card=card.name)
        remedy = _('It works, but slowly. Press "Repair" to install PyTorch for the card.')
        return Finding(Level.WARNING, text, remedy, Kind.WRONG_BUILD)
    text = _("PyTorch {version} does not find the card {card} (driver {driver}). {warning}")
    text = text.format(
        version=torch.version,
        card=card.name,
        driver=card.driver,
        warning=shortened(" ".join(torch.warnings)),
    )
    remedy = _(
        'It works, but slowly. Update the NVIDIA driver, or press "Repair" for a PyTorch that fits it.'
    )
    return Finding(Level.WARNING, text.strip(), remedy, Kind.WRONG_BUILD)


def _packages(facts: Facts) -> list[Finding]:
    findings = []
    for name, package in facts.packages.items():
        if not package.error:
            continue
        if name == "safetensors":
            text = (
                _("The package {name} is missing.")
                if not package.version
                else _("{name} is damaged: {error}")
            )
            remedy = _('Press "Repair" to install it.')
            kind = Kind.MISSING_PACKAGE
        else:
            text = _("{name}, a part of Slicer, cannot be imported: {error}")
            remedy, kind = _remedyOfPackage(name), Kind.OTHER
        text = text.format(name=name, error=shortened(package.error))
        findings.append(Finding(Level.ERROR, text, remedy, kind))
    if not findings and facts.packages:
        versions = ", ".join(f"{name} {package.version}" for name, package in facts.packages.items())
        findings.append(
            Finding(Level.OK, _("The other packages work: {versions}.").format(versions=versions))
        )
    return findings


def _engine(facts: Facts) -> list[Finding]:
    if not facts.engine_error or any(package.error for package in facts.packages.values()):
        return []
    text = _("The engine cannot be imported: {error}").format(error=shortened(facts.engine_error))
    return [Finding(Level.ERROR, text, _("Install the extension MedNeXtSegmentation again."))]


def _machine(facts: Facts) -> list[Finding]:
    findings = []
    for name, folder in facts.folders.items():
        free = facts.free_mib.get(name)
        if free is not None and free < _LEAST_MIB[name]:
            text = _("Only {free} MiB are free on the disk of {folder}.").format(free=free, folder=folder)
            findings.append(Finding(Level.WARNING, text, _("Free some space there.")))
    if facts.memory_mib and facts.memory_mib < _LEAST_MEMORY_MIB:
        text = _("This computer has {gib:.0f} GiB of memory: large images may not fit.")
        text = text.format(gib=facts.memory_mib / _GIB)
        findings.append(Finding(Level.WARNING, text, _("Close other programs, or choose a smaller region.")))
    return findings


def _packageThatEndedTheCheck(result: CheckResult) -> str:
    """The package, other than PyTorch, whose import crashed or hung; "" if there is none."""
    step = result.facts.step
    if result.complete or step in ("import torch", "use torch", "import the engine"):
        return ""
    return step.removeprefix("import ") if step.startswith("import ") else "Python"


def _howItEnded(result: CheckResult, package: str) -> str:
    if result.exit_code is None:
        return _("Importing {package} did not end.").format(package=package)
    return _("Importing {package} ended the process (exit code {code}).").format(
        package=package, code=result.exit_code
    )


def _remedyOfPackage(package: str) -> str:
    if package == "safetensors":
        return _('Press "Repair" to install it.')
    return _("Another extension may have replaced it: install Slicer again.")


def _isForeign(facts: Facts) -> bool:
    """Whether PyTorch is imported from another folder than this Python's own packages."""
    folder = facts.torch.folder
    return bool(folder and facts.site_packages) and _plain(folder) != _plain(facts.site_packages)


def _plain(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").casefold()
