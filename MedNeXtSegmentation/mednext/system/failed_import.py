"""Explain why packages cannot be imported: torch is missing, broken, out of memory; an extra is missing."""

from __future__ import annotations

from ..errors import MissingPackageError, OutOfMemoryError
from .free_memory import obtainable_memory

_PACKAGES = ("torch", "safetensors")
_EXTRAS = {  # of pyproject.toml, by the packages that they add
    "dicomweb_client": "dicomweb",
    "highdicom": "dicom",
    "monai": "training",
    "nnunetv2": "training",
    "pydicom": "dicom",
    "ray": "server",
    "starlette": "server",
    "uvicorn": "server",
}

# Of the dynamic loader, and of Windows (1455: the page file is too small).
_NO_MEMORY = ("failed to map segment", "annot allocate memory", "WinError 1455")


def lacks_memory(error: Exception) -> bool:
    """Whether Python, or an import of a compiled package, found no memory."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY)


def is_missing_engine(error: Exception) -> bool:
    """Whether a package of the engine is not installed, as on a computer that is only a server's client."""
    return isinstance(error, ModuleNotFoundError) and error.name in _PACKAGES


def missing_extra(error: Exception) -> MissingPackageError | None:
    """The error for the user where a package of an extra is not installed; None for any other error."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name not in _EXTRAS:
        return None
    return MissingPackageError(
        f"This needs the package {name}: pip install 'slicer-mednext-segmentation[{_EXTRAS[name]}]'."
    )


def explained(error: Exception) -> MissingPackageError | OutOfMemoryError:
    """The error for the user, of any exception that an import of torch has raised."""
    reason = error if isinstance(error, ImportError | OSError) else f"{type(error).__name__}: {error}"
    if lacks_memory(error):
        free = obtainable_memory()
        had = "" if free is None else f", {free / 1e9:.1f} GB are available"
        return OutOfMemoryError(
            f"There is not enough memory for the engine{had} ({reason}). Close other programs, or raise the "
            "limit of memory that this program runs under."
        )
    return MissingPackageError(
        f"The engine cannot be loaded: {reason}. Install PyTorch, in Slicer with the extension PyTorch, "
        "elsewhere with pip; if it is there already, install it again. A run on a server needs none here."
    )
