"""Every failure that a user can cause or meet, as one tree of exceptions.

A message is a sentence or two: the fault, with the value, and the remedy.
The command line turns each class into an exit code, the Slicer module into an explained message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The last sentence of every `SuspectInputError`.
INSIST = "If it is right all the same, insist (--insist, insist=True)."


class MedNeXtError(Exception):
    """Root of all errors raised on purpose by this package."""

    exit_code = 2


class InputError(MedNeXtError):
    """The given images cannot be segmented as they are."""


class UnreadableImageError(InputError):
    """A file is missing, empty, truncated, or not an image."""


class UnsupportedImageError(InputError):
    """The dimensions, voxel type, values or spacing of an image cannot be those of one to segment."""


class SuspectInputError(InputError):
    """An input looks certainly wrong, but can be segmented when the user insists (`INSIST`)."""


class ChannelError(InputError):
    """Too few, too many or wrong input channels for the model."""


class GeometryError(InputError):
    """Positions in space do not fit: no overlap, a degenerate direction, a region outside the image."""


class OptionError(MedNeXtError):
    """An option of a command or a function has a value that is not allowed."""


class AlreadyInstalledError(OptionError):
    """A model of this name is installed, and the caller did not allow to replace it."""


class OutputError(MedNeXtError):
    """A result could not be written: permission, a full disk, an unknown format."""


class BundleError(MedNeXtError):
    """A model bundle is damaged, incomplete or unsafe."""


class BundleFormatError(BundleError):
    """`model.json` is missing, unreadable, of an unknown version, or violates the schema."""


class BundleIntegrityError(BundleError):
    """A weights file is missing, changed, or does not fit the network that `model.json` describes."""


class UnsafePathError(BundleError):
    """A path in a bundle or an archive leads out of its folder."""


class CheckpointError(MedNeXtError):
    """A foreign checkpoint cannot be imported."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint asks the unpickler for something that is not on the whitelist."""


class IncompatibleCheckpointError(CheckpointError):
    """A checkpoint was read, but its weights do not fit a MedNeXt network."""


class UpKernError(CheckpointError):
    """UpKern cannot initialise this network from that one."""


class LocationError(InputError):
    """The place of a structure was not found in an image, or not with certainty."""


class CatalogError(MedNeXtError):
    """The catalog of tasks and models is unreadable or violates its schema."""


class UnknownModelError(MedNeXtError):
    """No task, model or bundle goes by this name."""


class WeightsUnavailableError(UnknownModelError):
    """The task is known, but nobody has published weights for it."""


class DownloadError(MedNeXtError):
    """A download failed for good, after retries and mirrors."""


class DownloadIntegrityError(DownloadError):
    """A downloaded file has another size or SHA-256 than the catalog gives."""


class ArchiveError(MedNeXtError):
    """A DICOMweb archive cannot be reached, refuses a request, or gives only a part of the images."""


class IncompleteBatchError(MedNeXtError):
    """Some cases of a batch failed; the others are done. `document` is the report on all of them."""

    exit_code = 3

    def __init__(self, message: str, document: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.document = document or {}


class DiskSpaceError(MedNeXtError):
    """Not enough free space for a download or a result."""


class DeviceError(MedNeXtError):
    """The requested device is not available."""


class OutOfMemoryError(DeviceError):
    """The device or the machine ran out of memory."""


class DeviceLostError(DeviceError):
    """The device failed in the middle of a run; the process that used it cannot use it any more."""


class EngineProcessError(MedNeXtError):
    """The engine's own process could not be started, or ended without an answer."""


class ServerError(MedNeXtError):
    """A server of `mednext serve` cannot be reached, was lost, or could not finish a run."""


class ServerAccessError(ServerError):
    """A server, or this computer, refuses the connection: key, certificate, version, address."""


class ServerBusyError(ServerError):
    """A server has no room for one more request at the moment."""


class NumericalError(MedNeXtError):
    """The network answered with NaN or infinite values."""


class MissingPackageError(MedNeXtError):
    """An optional package that this needs is not installed."""


class Cancelled(MedNeXtError):  # noqa: N818 - not a fault: the user asked for it
    """The user cancelled the run."""

    exit_code = 130


def to_json(error: MedNeXtError) -> dict[str, str]:
    """An error for another process: the name of its class, and its message."""
    return {"error": type(error).__name__, "message": str(error)}


def from_json(data: Mapping[str, Any]) -> MedNeXtError:
    """The inverse of `to_json`; an unknown class becomes `MedNeXtError`."""
    known = globals().get(str(data.get("error")))
    if not (isinstance(known, type) and issubclass(known, MedNeXtError)):
        known = MedNeXtError
    return known(str(data.get("message")))
