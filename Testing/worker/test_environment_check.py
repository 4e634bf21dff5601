"""The environment check: real child processes look at Pythons with healthy, broken and missing packages."""

from __future__ import annotations

import sys
import textwrap

import pytest
import slicer_standin
from fixtures.environment.slicer_python import (
    TORCH,
    WHOLE_LOOKS,
    make_slicer_python,
    path_with,
    plant_nvidia_smi,
)
from mednext.worker.environment_check import PACKAGES
from mednext.worker.environment_facts import Card, Facts, PackageFacts, TorchFacts, is_older

slicer_standin.start()
from MedNeXtSegmentationLib.environment.check import CheckResult, EnvironmentCheck  # noqa: E402
from MedNeXtSegmentationLib.environment.findings import Kind, Level, findingsOf  # noqa: E402
from MedNeXtSegmentationLib.environment.repair_plan import repairPlanFor  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and signals as on Linux and macOS")

PATIENCE_S = 200.0


@pytest.fixture
def python(tmp_path):
    """A Python without torch, whose other packages are quickly imported: they are empty."""
    python = make_slicer_python(tmp_path / "Slicer ü", without=[".*"])
    for name in PACKAGES:
        python.add(name, "9.9", {"__init__.py": ""})
    return python


def look(python, patience_s=PATIENCE_S):
    return EnvironmentCheck(str(python.program), patience_s).result()


def of_torch(result):
    """The finding about torch."""
    return findingsOf(result)[0]


def torch_that(statement):
    return {"__init__.py": textwrap.dedent(statement)}


def torch_built_for(build, cuda=None, warning=""):
    code = textwrap.dedent(WHOLE_LOOKS["__init__.py"])
    return {"__init__.py": code.format(build=build, cuda=cuda, warning=warning)}


def test_a_healthy_python_is_reported_with_its_versions_and_device():
    result = EnvironmentCheck().result()
    assert result.complete
    assert {finding.level for finding in findingsOf(result)} == {Level.OK}
    assert f"PyTorch {result.facts.torch.version} works" in of_torch(result).text
    assert result.facts.packages.keys() == {"numpy", "SimpleITK", "requests", "safetensors"}
    assert all(package.version and not package.error for package in result.facts.packages.values())
    assert result.facts.memory_mib > 0
    assert result.facts.free_mib.keys() == {"temporary", "models", "packages"}
    assert not repairPlanFor(findingsOf(result), result.facts.site_packages)


def test_slicers_python_before_anything_was_installed_is_reported(tmp_path):
    result = look(make_slicer_python(tmp_path / "Slicer"))
    assert (of_torch(result).kind, of_torch(result).level) == (Kind.NO_TORCH, Level.ERROR)
    remedy = repairPlanFor(findingsOf(result), result.facts.site_packages)
    assert remedy.torch
    assert not remedy.removeFrom


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (
            'raise ImportError("libcudnn.so.9: cannot open shared object file")',
            "A library of PyTorch cannot be",
        ),
        (
            'raise OSError("[WinError 126] c10.dll could not be found")',
            "A library of PyTorch cannot be loaded",
        ),
        ("from torch._C import *", "installed only in part (ModuleNotFoundError: No module named 'torch._C'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "Importing PyTorch crashes (SIGSEGV)"),
        ("import os; os._exit(3)", "Importing PyTorch crashes (exit code 3)"),
    ],
    ids=["library", "dll", "file missing", "segfault", "exit"],
)
def test_a_torch_that_cannot_be_imported_is_half_installed(python, statement, text):
    python.add("torch", "2.9.0", torch_that(statement))
    result = look(python)
    finding = of_torch(result)
    assert text in finding.text
    assert (finding.kind, finding.level) == (Kind.HALF_INSTALLED, Level.ERROR)
    remedy = repairPlanFor(findingsOf(result), result.facts.site_packages)
    assert remedy.torch
    assert remedy.removeFrom == str(python.packages)


@pytest.mark.parametrize("files", [{"lib/libtorch.so": ""}, {}], ids=["without its code", "only its record"])
def test_half_a_torch_is_noticed(python, files):
    python.add("torch", "2.9.0", files)
    assert of_torch(look(python)).kind is Kind.HALF_INSTALLED


def test_a_torch_that_hangs_is_ended_and_reported(tmp_path):
    python = make_slicer_python(tmp_path / "Slicer", without=[".*"])  # it comes to torch at once
    python.add("torch", "2.9.0", torch_that("import time; time.sleep(600)"))
    result = look(python, patience_s=5.0)
    assert result.exit_code is None
    assert "did not end" in of_torch(result).text
    assert of_torch(result).kind is Kind.HALF_INSTALLED


def test_a_traceback_is_kept_for_the_diagnostics(python):
    python.add("torch", "2.9.0", torch_that("raise ImportError('no such thing')"))
    assert "ImportError: no such thing" in look(python).lines


def test_a_torch_that_is_too_old_is_the_wrong_build(python):
    python.add("torch", "2.1.0", torch_that(torch_built_for("cpu")["__init__.py"].replace("2.9.0", "2.1.0")))
    finding = of_torch(look(python))
    assert finding.text.startswith("PyTorch 2.1.0+cpu is too old")
    assert finding.kind is Kind.WRONG_BUILD


def test_a_torch_that_does_not_fit_numpy_is_the_wrong_build(tmp_path):
    python = make_slicer_python(tmp_path / "Slicer")
    python.add("torch", "2.9.0", torch_built_for("cpu"))
    finding = of_torch(look(python))
    assert "cannot compute here: RuntimeError: Numpy is not available" in finding.text
    assert finding.kind is Kind.WRONG_BUILD


def test_a_card_that_a_torch_for_the_processor_leaves_unused_is_named(tmp_path, monkeypatch):
    plant_nvidia_smi(tmp_path)
    monkeypatch.setenv("PATH", path_with(tmp_path))
    result = EnvironmentCheck().result()
    if result.facts.torch.build != "cpu":
        pytest.skip("the installed torch is not for the processor only")
    finding = of_torch(result)
    assert "made for the processor only, so the card NVIDIA RTX A4000 is not used" in finding.text
    assert (finding.kind, finding.level) == (Kind.WRONG_BUILD, Level.WARNING)


def test_a_driver_that_is_too_old_for_torch_is_named():
    torch = TorchFacts(
        "2.9.0+cu130", None, "/x", "cu130", warnings=["The NVIDIA driver is too old (found 11040)"]
    )
    facts = Facts("done", site_packages="/x", torch=torch)
    facts.nvidia_cards = [Card("RTX A4000", "470.1")]
    finding = of_torch(CheckResult(facts))
    assert "does not find the card RTX A4000 (driver 470.1). The NVIDIA driver is too old" in finding.text
    assert "Update the NVIDIA driver" in finding.remedy
    assert finding.kind is Kind.WRONG_BUILD


def test_a_torch_for_cuda_without_a_card_works_on_the_processor():
    facts = Facts("done", site_packages="/x", torch=TorchFacts("2.9.0+cu130", None, "/x", "cu130"))
    assert of_torch(CheckResult(facts)).level is Level.OK


def test_a_missing_small_package_is_its_own_finding(tmp_path):
    python = make_slicer_python(tmp_path / "Slicer", without=[TORCH, "safetensors.*"])
    result = look(python)
    texts = [finding.text for finding in findingsOf(result) if finding.kind is Kind.MISSING_PACKAGE]
    assert texts == ["The package safetensors is missing."]
    assert repairPlanFor(findingsOf(result), str(python.packages)).packages


def test_a_package_of_slicer_that_crashes_is_not_blamed_on_torch(tmp_path):
    python = make_slicer_python(tmp_path / "Slicer", without=[TORCH, "SimpleITK.*"])
    python.add("SimpleITK", "2.5", torch_that("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    finding = findingsOf(look(python))[0]
    assert "Importing SimpleITK ended the process" in finding.text
    assert finding.remedy.endswith("install Slicer again.")


def test_a_torch_from_outside_of_slicer_is_named_and_not_changed(python, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    (outside / "torch").mkdir(parents=True)
    (outside / "torch" / "__init__.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(outside))
    result = look(python)
    assert f"It comes from {outside}, outside of Slicer." in of_torch(result).text
    assert not repairPlanFor([of_torch(result)], result.facts.site_packages)


def test_a_folder_too_deep_for_windows_is_named_before_torch_is_blamed():
    deep = "C:/Users/Dr. Maria Anastasia Mustermann/AppData/Local/slicer.org/3D Slicer 5.12.1/" + "lib/" * 16
    torch = TorchFacts("2.9.0", "FileNotFoundError: mma.h", folder=deep)
    facts = Facts("done", system="win32", site_packages=deep, long_paths=False, torch=torch)
    finding = of_torch(CheckResult(facts))
    assert "Windows allows paths of 259 characters" in finding.text
    assert not repairPlanFor([finding], deep)
    facts.long_paths = True
    assert of_torch(CheckResult(facts)).kind is Kind.HALF_INSTALLED


def test_a_dll_that_is_missing_on_windows_names_the_redistributable():
    torch = TorchFacts("2.9.0", "OSError: [WinError 1114] c10.dll or one of its dependencies", folder="C:/x")
    facts = Facts("done", system="win32", site_packages="C:/x", long_paths=True, torch=torch)
    assert "Visual C++ Redistributable" in of_torch(CheckResult(facts)).text


def test_a_mac_without_any_new_torch_is_reported():
    torch = TorchFacts("2.2.2", folder="/x", build="cpu")
    facts = Facts("done", system="darwin", machine="x86_64", site_packages="/x", torch=torch)
    assert "Intel" in of_torch(CheckResult(facts)).remedy
    assert of_torch(CheckResult(facts)).kind is Kind.OTHER


def test_a_full_disk_and_little_memory_are_warnings():
    facts = Facts("done", site_packages="/x", torch=TorchFacts("2.9.0", folder="/x", build="cpu"))
    facts.folders, facts.free_mib, facts.memory_mib = {"temporary": "/tmp"}, {"temporary": 300}, 4096
    warnings = [finding.text for finding in findingsOf(CheckResult(facts)) if finding.level is Level.WARNING]
    assert warnings[0] == "Only 300 MiB are free on the disk of /tmp."
    assert "4 GiB of memory" in warnings[1]


def test_a_python_that_cannot_be_started_is_a_finding(tmp_path):
    result = EnvironmentCheck(str(tmp_path / "PythonSlicer")).result()
    assert [finding.level for finding in findingsOf(result)] == [Level.ERROR]


def test_facts_are_read_back_from_their_line_and_other_lines_are_refused():
    facts = Facts("done", packages={"numpy": PackageFacts("2.1")}, torch=TorchFacts(build="cpu"))
    assert Facts.from_line(facts.to_line()) == facts
    for line in ("", "torch says hello", "[]", '{"packages": 3}'):
        with pytest.raises(ValueError, match="no facts"):
            Facts.from_line(line)


def test_versions_are_compared_as_numbers():
    assert is_older("2.5.1+cu124", "2.6")
    assert not is_older("2.10.0", "2.6")
    assert not is_older("2.6.0", "2.6")
    assert not is_older("nightly", "2.6")
