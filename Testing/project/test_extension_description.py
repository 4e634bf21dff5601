"""The extension as the Extensions Index reads it: catalog entry, CMake files, licence, pictures."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MedNeXtSegmentation"
STANDIN = Path(__file__).parents[1] / "slicer_cmake"

# The index's schema: the type of each field, and the required ones.
FIELDS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = ("$schema", "category", "scm_url")
RAW = "https://raw.githubusercontent.com"


@pytest.fixture(scope="module")
def entry():
    """The entry of the catalog."""
    return json.loads((ROOT / "MedNeXtSegmentation.json").read_text(encoding="utf-8"))


def setting(name: str) -> str:
    """A value of the extension's CMakeLists.txt, by the pattern with which the index looks for it."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"[ ]*\)', text)
    assert match, name
    return match[1]


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """The build folder of a configuration with the stand-in of Slicer's CMake package."""
    cmake = shutil.which("cmake", path=Path(sys.executable).parent) or shutil.which("cmake")
    if cmake is None or not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("there is no CMake or no C++ compiler on this machine")
    build = tmp_path_factory.mktemp("build")
    options = [f"-DSlicer_DIR={STANDIN}", "-DBUILD_TESTING=ON"]
    if "SLICER_SOURCE" in os.environ:
        options.append(f"-DSLICER_SOURCE={os.environ['SLICER_SOURCE']}")
    command = [cmake, "-S", str(ROOT), "-B", str(build), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr, result.stderr
    return build


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def test_the_catalog_entry_has_the_fields_of_the_schema(entry):
    assert set(REQUIRED) <= set(entry)
    assert {name: type(value) for name, value in entry.items()} == {name: FIELDS[name] for name in entry}
    assert 1 <= entry["tier"] <= 5
    assert entry["scm_type"] == "git"
    assert re.fullmatch(r"https://\S+/slicer-extension-catalog-entry-schema-v[\d.]+\.json#", entry["$schema"])


def test_the_catalog_entry_satisfies_slicers_own_schema(entry):
    if "SLICER_SOURCE" not in os.environ:
        pytest.skip("set SLICER_SOURCE to a checkout of Slicer to validate by its schema")
    file = Path(os.environ["SLICER_SOURCE"], "Schemas", Path(entry["$schema"].removesuffix("#")).name)
    if not file.is_file():
        pytest.skip(f"the checkout has no {file.name}")
    jsonschema.validate(entry, json.loads(file.read_text(encoding="utf-8")))


def test_the_catalog_entry_agrees_with_the_cmake_file(entry):
    assert (
        re.search(r"project\((\w+)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))[1]
        == MODULE.name
    )
    assert entry["scm_url"] == setting("HOMEPAGE")
    assert entry["build_dependencies"] == setting("DEPENDS").split()
    assert Path(entry["scm_url"]).name == f"Slicer{MODULE.name}"


def test_every_picture_of_the_catalog_is_a_png_of_this_repository(entry):
    owner_and_name = entry["scm_url"].removeprefix("https://github.com/")
    prefix = f"{RAW}/{owner_and_name}/{entry['scm_revision']}/"
    for url in [setting("ICONURL"), *setting("SCREENSHOTURLS").split()]:
        assert url.startswith(prefix)
        picture = (ROOT / url.removeprefix(prefix)).read_bytes()
        assert picture.startswith(b"\x89PNG")
        if url == setting("ICONURL"):
            assert struct.unpack(">II", picture[16:24]) >= (128, 128)


def test_licence_and_description_are_where_the_index_looks_for_them():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert 80 < len(setting("DESCRIPTION")) < 400


def test_the_extension_configures(configured):
    extension = dict(line.split(" ", 1) for line in lines(configured / "extension.txt"))
    assert extension["NAME"] == MODULE.name
    assert extension["DEPENDS"] == "PyTorch"
    assert extension["RECOMMENDS"] == "QuantitativeReporting"
    assert {"segmentation", "CT", "MRI", "hippocampus"} <= set(extension["KEYWORDS"].split())
    assert "py_MedNeXtSegmentation" in lines(configured / "tests.txt")


def test_all_files_of_the_folder_are_installed(configured):
    files = [file for file in MODULE.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    present = {file.relative_to(MODULE).as_posix() for file in files} - {"CMakeLists.txt"}
    present = {name for name in present if not name.startswith(("native/", "mednext/mednext_native."))}
    assert present == {*lines(configured / "scripts.txt"), *lines(configured / "resources.txt")}


def test_the_native_kernels_are_installed_beside_the_python_files_that_look_for_them(configured):
    script = (configured / "MedNeXtSegmentation" / "native" / "cmake_install.cmake").read_text(
        encoding="utf-8"
    )
    folders = re.findall(r'DESTINATION "\$\{CMAKE_INSTALL_PREFIX\}/([^"]+)" TYPE MODULE', script)
    assert folders == ["lib/Slicer-5.12/qt-scripted-modules/mednext"]


def test_torch_is_left_to_the_pytorch_extension():
    file = MODULE / "Resources" / "requirements.txt"
    if not file.is_file():
        pytest.skip("there is no requirements.txt")
    wanted = [Requirement(line) for line in lines(file) if line.strip() and not line.startswith("#")]
    assert wanted
    assert not {"torch", "torchvision", "numpy", "SimpleITK"} & {requirement.name for requirement in wanted}
    assert not any("==" in str(requirement.specifier) for requirement in wanted)


def test_the_whole_repository_stays_small_enough_to_clone():
    """The index wants at most 100 MB with the whole history."""
    if shutil.which("git") is None:
        pytest.skip("there is no git on this machine")
    result = subprocess.run(
        ["git", "count-objects", "-v"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        pytest.skip("this is no git checkout")
    sizes = dict(line.split(": ") for line in result.stdout.splitlines())
    assert int(sizes["size-pack"]) + int(sizes["size"]) < 100 * 1024  # KiB
