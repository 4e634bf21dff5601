"""`mednext scene-job`: write an export from Slicer's scene. Called by Slicer, not by people."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .console import Console


def add_parser(commands: Any) -> None:
    """Add the command to the parser without a help text, so that it is not listed."""
    parser = commands.add_parser("scene-job", allow_abbrev=False)
    parser.set_defaults(run=run)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", action="store_true")


def run(options: argparse.Namespace, console: Console) -> None:
    """Do the job in the folder."""
    from ..worker.scene.jobs import carry_out

    done = carry_out(options.folder)
    console.done(done, str(done))
