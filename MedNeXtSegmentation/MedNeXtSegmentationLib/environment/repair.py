"""Repair of the environment: removes the broken packages and installs the missing ones."""

from __future__ import annotations

import importlib
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import slicer
from mednext.errors import MissingPackageError
from slicer.i18n import tr as _

from ..engine.worker_client import WorkerClient
from .pip_output import liveOutput
from .repair_plan import RepairPlan, missingRequirements
from .torch_extension import TorchExtension, torchIsInUse
from .torch_removal import removeTorchFolders

REQUESTER = "MedNeXtSegmentation"

logger = logging.getLogger(__name__)


def repair(
    plan: RepairPlan,
    client: WorkerClient,
    onStage: Callable[[str], None],
    onLine: Callable[[str], None],
) -> bool:
    """Carry out a plan to which the user has agreed. Returns whether Slicer must be restarted afterwards.

    Runs in the main thread, and lets the event loop run meanwhile.

    onStage: gets the name of each step.
    onLine: gets every line of pip's output.

    Raises `MissingPackageError` when a package cannot be installed, `OutputError` when old files cannot be
    removed.
    """
    client.shutdown()  # Windows cannot replace a file in use
    inUse = torchIsInUse()
    with liveOutput(onLine):
        if plan.torch:
            _repairTorch(plan, onStage)
        if plan.packages:
            onStage(_("Installing small packages"))
            _installPackages()
    importlib.invalidate_caches()
    restart = bool(plan.removeFrom) and inUse
    if not restart:
        client.prepare()
    return restart


def _repairTorch(plan: RepairPlan, onStage: Callable[[str], None]) -> None:
    extension = TorchExtension()
    if not extension.isInstalled():
        onStage(_("Installing Slicer's extension PyTorch"))
        slicer.app.processEvents()
        extension.installItself()
    if plan.removeFrom:
        onStage(_("Removing the old PyTorch"))
        extension.uninstallTorch()
        removeTorchFolders(Path(plan.removeFrom))
    onStage(_("Downloading and installing PyTorch: some minutes"))
    extension.installTorch()


def _installPackages() -> None:
    from slicer import packaging  # slow to import

    missing = missingRequirements()
    try:
        # The user has agreed; no restart, since only the worker imports them.
        packaging.pip_ensure(missing, prompt_install=False, prompt_restart=False, requester=REQUESTER)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise MissingPackageError(
            _("{packages} could not be installed ({error}). Check the network connection.").format(
                packages=", ".join(missing), error=error
            )
        ) from error
