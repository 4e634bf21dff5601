"""`mednext info`: print the facts about this computer that a bug report needs."""

from __future__ import annotations

import argparse
from typing import Any

from .console import Console
from .run_options import add_output_options, add_server_options, server_of_run

_PACKAGES = ("torch", "numpy", "SimpleITK", "requests", "safetensors", "highdicom", "tqdm")


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    text = "show devices, versions, the models folder and the models"
    parser = commands.add_parser("info", help=text, description=f"S{text[1:]}.", allow_abbrev=False)
    parser.set_defaults(run=run)
    add_server_options(parser.add_argument, "show the version, models and limits of a server instead")
    add_output_options(parser.add_argument)


def run(options: argparse.Namespace, console: Console) -> None:
    """Print the facts."""
    server = server_of_run(options)
    if server is not None:
        from ..remote.served_models import greet

        hello = greet(server)
        console.done(hello.to_json(), *hello.lines)
        return
    import platform

    from .. import __version__
    from ..library.folder_locations import models_folder
    from ..library.store import installed_models

    document = {
        "mednext": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "models_folder": str(models_folder()),
        "models": {model.name: model.version for model in installed_models()},
    }
    console.done(
        document, *(f"{key.replace('_', ' '):<14} {_text(value)}" for key, value in document.items())
    )


def _devices() -> list[str]:
    """The devices of this computer; none without PyTorch, as on one that is only a server's client."""
    try:
        from ..system.devices import available_devices, choose_device, device_name

        return [device_name(choose_device(name)) for name in available_devices()]
    except ImportError:
        return []


def _version(package: str) -> str | None:
    from importlib import metadata  # not above: its import took a third of the time of `--help`

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version or 'not installed'}" for name, version in value.items()) or "none"
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)
