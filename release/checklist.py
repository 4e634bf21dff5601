"""The checklist of a release: the rules of Slicer's Extensions Index that need no network, and our own.

They follow `check_description_files.py`, the schema and the pull request form of the Index (August 2026).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["BY_HAND", "Finding", "check_release", "version_of"]

NAME = "MedNeXtSegmentation"
CATEGORY = "Segmentation"  # one of the Index's list
FIELDS = {"$schema", "category", "scm_url", "scm_revision", "build_dependencies", "tier"}
MORE_FIELDS = {"scm_type", "build_subdirectory", "dicom_support_rule", "enabled"}
LIMIT_MB = 100
PNG = b"\x89PNG"

BY_HAND = (
    "The repository on GitHub has the topic 3d-slicer-extension.",
    "The addresses of icon and screenshots answer; the home page is public.",
    "The extension builds on Slicer's factories for Windows, macOS and Linux.",
    "Wiki, Projects, Discussions, Releases and Packages are switched off on GitHub unless they are used.",
    "The description mentions each patent that is known to concern the method.",
    "Two people have installed the archive into Slicer and segmented their own images.",
)


@dataclass(frozen=True)
class Finding:
    """One rule of the checklist.

    Attributes:
        rule: a sentence that is true of a release in order.
        problems: why it is not true here; empty where it is.
    """

    rule: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


def version_of(root: Path) -> str:
    """The version, from its one place: `mednext/__init__.py`."""
    text = (root / NAME / "mednext" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise ValueError('mednext/__init__.py has no line __version__ = "...".')
    return match[1]


def check_release(root: Path) -> list[Finding]:
    """Check a checkout of the project; every rule is in the list, in order or not."""
    rules: list[tuple[str, Callable[[Path], Iterator[str]]]] = [
        ("All changes are committed.", _uncommitted),
        ("CHANGELOG.md has a section for this version, and it stands first.", _changelog),
        ("The Index's entry is JSON with LF line ends, and has the fields of its schema.", _entry),
        ("The extension's name does not begin with Slicer, the repository's name does.", _names),
        ("CMakeLists.txt has the entry's name, dependencies and home page.", _cmake),
        (
            "Icon and screenshots are PNG files of this repository; the icon has 128 pixels or more.",
            _pictures,
        ),
        ("The licence lies in the root and is named in the README.", _licence),
        ("The README has a picture, a tutorial, a section about each module, and the publication.", _readme),
        (f"Checkout and history together take less than {LIMIT_MB} MB.", _size),
        ("No file of the repository is a private key or a password file.", _secrets),
    ]
    return [Finding(rule, tuple(problems(root))) for rule, problems in rules]


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def _cmake_value(root: Path, name: str) -> str:
    """A value of CMakeLists.txt by the Index's own pattern; empty where that finds none."""
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"[ ]*\)', text)
    return match[1] if match else ""


def _index_entry(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / f"{NAME}.json").read_text(encoding="utf-8")))


def _uncommitted(root: Path) -> Iterator[str]:
    for line in _git(root, "status", "--porcelain").splitlines():
        yield f"{line[3:]} is changed or new"


def _changelog(root: Path) -> Iterator[str]:
    sections = re.findall(r"^## (\S+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if not sections or sections[0] != version_of(root):
        yield f"the version is {version_of(root)}, the first section {sections[0] if sections else 'missing'}"


def _entry(root: Path) -> Iterator[str]:
    data = (root / f"{NAME}.json").read_bytes()
    if b"\r" in data:
        yield "a line ends with CR"
    try:
        entry = json.loads(data)
    except ValueError as error:
        yield f"it is not JSON: {error}"
        return
    yield from (f"it has no {field}" for field in sorted(FIELDS) if not entry.get(field))
    yield from (f"the schema has no {field}" for field in sorted(entry.keys() - FIELDS - MORE_FIELDS))
    if entry.get("category") != CATEGORY:
        yield f"its category is {entry.get('category')!r}, not {CATEGORY}"
    if urlsplit(entry.get("scm_url", "")).scheme not in {"https", "git"}:
        yield f"scm_url is {entry.get('scm_url')!r}, not an address with https or git"


def _names(root: Path) -> Iterator[str]:
    repository = Path(urlsplit(_index_entry(root)["scm_url"]).path).stem
    if NAME.lower().startswith("slicer"):
        yield f"the extension is called {NAME}"
    if not repository.startswith("Slicer"):
        yield f"the repository is called {repository}"


def _cmake(root: Path) -> Iterator[str]:
    entry = _index_entry(root)
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    project = re.search(r"project\s*\(\s*([^\s)]+)", text)
    if project is None or project[1] != NAME:
        yield f"the project is called {project[1] if project else 'nothing'}, the entry's file {NAME}"
    if _cmake_value(root, "DEPENDS").split() != entry["build_dependencies"]:
        yield f"EXTENSION_DEPENDS differs from build_dependencies {entry['build_dependencies']}"
    if _cmake_value(root, "HOMEPAGE") != entry["scm_url"]:
        yield f"EXTENSION_HOMEPAGE differs from scm_url {entry['scm_url']}"
    if not 40 < len(_cmake_value(root, "DESCRIPTION")) < 400:
        yield "EXTENSION_DESCRIPTION is no summary in one or two sentences"


def _pictures(root: Path) -> Iterator[str]:
    icon, screenshots = _cmake_value(root, "ICONURL"), _cmake_value(root, "SCREENSHOTURLS").split()
    if not screenshots:
        yield "there is no screenshot"
    branch = f"/{_index_entry(root)['scm_revision']}/"
    for url in [icon, *screenshots]:
        file = root / url.partition(branch)[2]
        data = file.read_bytes() if branch in url and file.is_file() else b""
        if not data.startswith(PNG):
            yield f"{url} is no PNG of this repository"
        elif url == icon and min(int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) < 128:
            yield f"{url} is too small"


def _licence(root: Path) -> Iterator[str]:
    if not (root / "LICENSE").is_file():
        yield "there is no file LICENSE"
    if "Apache" not in (root / "README.md").read_text(encoding="utf-8"):
        yield "the README does not name the licence"


def _readme(root: Path) -> Iterator[str]:
    text = (root / "README.md").read_text(encoding="utf-8")
    wanted = {
        "a picture": r"!\[.+\]\(.+\.png\)",
        "a tutorial": "^## Tutorial",
        "the module": "^## The module",
    }
    wanted["a link to the publication"] = r"\(https://doi\.org/"
    for name, pattern in wanted.items():
        if not re.search(pattern, text, re.MULTILINE):
            yield f"{name} is missing"


def _size(root: Path) -> Iterator[str]:
    counted = dict(line.split(": ") for line in _git(root, "count-objects", "-v").splitlines())
    history = (int(counted["size"]) + int(counted["size-pack"])) / 1024
    files = _git(root, "ls-files", "-z").split("\0")[:-1]
    checkout = sum((root / file).stat().st_size for file in files) / 2**20
    if history + checkout >= LIMIT_MB:
        yield f"checkout {checkout:.0f} MB, history {history:.0f} MB"


def _secrets(root: Path) -> Iterator[str]:
    pattern = "BEGIN [A-Z ]*PRIVATE KEY"
    found = subprocess.run(
        ["git", "grep", "-lE", f"^-----{pattern}"], cwd=root, check=False, capture_output=True, text=True
    )
    yield from (f"{file} holds a private key" for file in found.stdout.split())
