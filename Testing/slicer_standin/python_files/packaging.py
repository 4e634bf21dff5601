"""Stand-in for `slicer.packaging`: asks the user as Slicer does, and installs with `PythonSlicer`."""

from __future__ import annotations

import importlib.metadata
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a file, without comments and pip's options."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(requirements: Any) -> bool:
    """Whether everything is installed in a version that fits."""
    return all(_is_satisfied(requirement) for requirement in _as_requirements(requirements))


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Install missing packages after a question; raises RuntimeError if the user declines."""
    missing = [r for r in _as_requirements(requirements) if not _is_satisfied(r)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        text = f"{len(missing)} Python packages need to be installed. Continue?"
        details = "\n".join(map(str, missing))
        if not slicer.util.confirmOkCancelDisplay(text, title, detailedText=details):
            raise RuntimeError("User declined package installation")
    pip_install([str(requirement) for requirement in missing], constraints, skip_packages)
    return None


def pip_install(requirements: Any, *_arguments: Any, **_options: Any) -> None:
    """Install by the pip of the `PythonSlicer` on the PATH and wait; raises RuntimeError without one."""
    words = shlex.split(requirements) if isinstance(requirements, str) else requirements
    slicer.util.executePythonModule("pip", ["install", *words])


def pip_uninstall(requirements: Any, *_arguments: Any, **_options: Any) -> None:
    """As `pip_install`."""
    words = shlex.split(requirements) if isinstance(requirements, str) else requirements
    slicer.util.executePythonModule("pip", ["uninstall", *words, "--yes"])


def _as_requirements(requirements: Any) -> list[Requirement]:
    if isinstance(requirements, str):
        requirements = requirements.split()
    elif isinstance(requirements, Requirement) or not isinstance(requirements, Iterable):
        requirements = [requirements]
    return [r if isinstance(r, Requirement) else Requirement(r) for r in requirements]


def _is_satisfied(requirement: Requirement) -> bool:
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)
