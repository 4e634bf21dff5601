"""Repair the environment: one go through all that has to be removed and installed."""

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
    """Do what the plan says; whether Slicer must be restarted before anything can be segmented.

    For the main thread, in the handler of a click, after the user has agreed; the event loop goes on
    meanwhile. onStage: gets what is being done. onLine: gets every line of pip's.

    Raises:
        MissingPackageError: something could not be installed.
        OutputError: old files could not be removed.
    """
    client.shutdown()  # a file in use cannot be replaced on Windows
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
    from slicer import packaging  # takes its time to import

    missing = missingRequirements()
    try:
        # Asked already; and no restart, since only the worker imports them.
        packaging.pip_ensure(missing, prompt_install=False, prompt_restart=False, requester=REQUESTER)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise MissingPackageError(
            _("{packages} could not be installed ({error}). Check the network connection.").format(
                packages=", ".join(missing), error=error
            )
        ) from error
