"""The environment of child processes that run a module of this package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def child_environment(settings: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables `settings`, with this package where the child finds it."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [settings.get("PYTHONPATH")])]
    return {**settings, "PYTHONPATH": os.pathsep.join(paths)}
