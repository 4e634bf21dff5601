"""The checklist of a release finds the faults that the Extensions Index, or a user, would find."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from release.checklist import check_release, version_of

ROOT = Path(__file__).parents[2]
NAME = "MedNeXtSegmentation"


@pytest.fixture
def copy(tmp_path):
    """A committed copy of the files that the checklist reads."""
    if shutil.which("git") is None:
        pytest.skip("there is no git on this machine")
    for name in ("CMakeLists.txt", "README.md", "LICENSE", "CHANGELOG.md", f"{NAME}.json", "Resources"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    package = tmp_path / NAME / "mednext"
    package.mkdir(parents=True)
    shutil.copyfile(ROOT / NAME / "mednext" / "__init__.py", package / "__init__.py")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a state")


def problems(folder: Path) -> list[str]:
    return [problem for finding in check_release(folder) for problem in finding.problems]


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")
    commit(file.parent)


def test_this_repository_passes_each_rule(copy):
    assert problems(copy) == []


def test_a_change_that_is_not_committed_is_named(copy):
    (copy / "notes.txt").write_text("later")
    assert problems(copy) == ["notes.txt is changed or new"]


def test_a_version_without_a_section_in_the_changelog_is_refused(copy):
    change(copy / "CHANGELOG.md", f"## {version_of(copy)}", "## 0.0.1")
    assert problems(copy) == [f"the version is {version_of(copy)}, the first section 0.0.1"]


def test_another_dependency_in_the_indexs_entry_is_named(copy):
    change(copy / f"{NAME}.json", '"PyTorch"', '"SlicerElastix"')
    assert problems(copy) == ["EXTENSION_DEPENDS differs from build_dependencies ['SlicerElastix']"]


def test_a_field_or_a_category_that_the_index_does_not_know_is_named(copy):
    change(copy / f"{NAME}.json", '"category": "Segmentation"', '"category": "Segmenting", "version": "1"')
    assert problems(copy) == ["the schema has no version", "its category is 'Segmenting', not Segmentation"]


def test_windows_line_ends_in_the_indexs_entry_are_named(copy):
    file = copy / f"{NAME}.json"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    commit(copy)
    assert problems(copy) == ["a line ends with CR"]


def test_a_missing_screenshot_is_named(copy):
    (copy / "Resources" / "Screenshots" / "hippocampi.png").unlink()
    commit(copy)
    (found,) = problems(copy)
    assert found.endswith("hippocampi.png is no PNG of this repository")


def test_a_private_key_in_the_repository_is_named(copy):
    (copy / "server.pem").write_text("-----BEGIN RSA PRIVATE KEY-----\nMII\n")
    commit(copy)
    assert problems(copy) == ["server.pem holds a private key"]
