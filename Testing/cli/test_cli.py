"""The command line segments images and manages models, for people and for programs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.downloads.http_server import Server, serve, stall_after
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_bundle
from mednext import load_bundle, read_volume, segment
from mednext.cli import main
from mednext.images.geometry import Geometry
from mednext.library import store
from mednext.library.archive import pack
from mednext.model.bundle import Bundle

Run = Callable[..., dict[str, Any]]

ENGINE = str(Path(__file__).resolve().parents[2] / "MedNeXtSegmentation")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with an empty models folder beside."""
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", folds=(0, 1), mirror_axes=(2,))


@pytest.fixture
def image(here: Path) -> Path:
    """A noisy image of 30 x 28 x 20 voxels, whose axes point to the left, to the posterior and up."""
    array = np.random.default_rng(1).normal(100, 20, (20, 28, 30)).astype(np.float32)
    made = sitk.GetImageFromArray(array)
    made.SetOrigin((-10, -12, 5))
    sitk.WriteImage(made, str(here / "head.nii.gz"))
    return here / "head.nii.gz"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json that must succeed; returns the document."""

    def run_it(*arguments: object) -> dict[str, Any]:
        code = main([*map(str, arguments), "--json"])
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        assert (code, document.pop("ok")) == (0, True), document
        return document

    return run_it


def python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": ENGINE},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_the_labels_equal_those_of_the_library(run: Run, image: Path, tiny: Bundle) -> None:
    document = run("segment", image, "--model", tiny.path, "--output", "out.nii.gz", "--threads", 1)
    expected = segment(read_volume(image), tiny, threads=1)
    written = sitk.ReadImage("out.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), expected.labelmap)
    assert Geometry.from_image(written).close_to(expected.geometry)
    assert document["volumes_ml"] == expected.volumes_ml()
    assert sum(document["volumes_ml"].values()) > 0
    assert document["provenance"]["fold_1_sha256"] == tiny.model.folds[1].sha256


def test_a_seg_nrrd_has_names_colours_and_terminology(run: Run, image: Path, tiny: Bundle) -> None:
    run("segment", image, "--model", tiny.path, "-o", "out.seg.nrrd", "--threads", 1)
    header = Path("out.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_Name:=spleen" in header
    assert "SCT^78961009^Spleen" in header


def test_a_dicom_series_becomes_a_dicom_seg(run: Run, here: Path, tiny: Bundle) -> None:
    array = np.random.default_rng(1).normal(100, 20, (20, 28, 30)).round()
    geometry = Geometry((30, 28, 20), (1.0, 1.0, 1.0), (-10.0, -12.0, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    write_series(here / "series", array, geometry)
    run("segment", here / "series", "--model", tiny.path, "-o", "out.dcm", "--threads", 1)
    import pydicom

    assert pydicom.dcmread("out.dcm").Modality == "SEG"


def test_options_reach_the_engine(run: Run, image: Path, tiny: Bundle) -> None:
    options = ["--folds", "1", "--no-mirror", "--roi", "-8,-6,10,0,9,15", "--device", "cpu", "--threads", 1]
    document = run(
        "segment", image, "--model", tiny.path, "-o", "out.mha", "--uncertainty", "u.nii.gz", *options
    )
    made_by = document["provenance"]
    assert (made_by["folds"], made_by["mirror_axes"]) == ("1", "")
    assert made_by["roi_ras_mm"] == "-8 -6 10 0 9 15"
    uncertainty = sitk.GetArrayFromImage(sitk.ReadImage("u.nii.gz"))
    assert uncertainty.shape == (20, 28, 30)
    assert 0 < uncertainty.max() <= 1


def test_the_corners_of_a_region_may_be_given_in_any_order(run: Run, image: Path, tiny: Bundle) -> None:
    common = ["segment", image, "--model", tiny.path, "--threads", 1]
    run(*common, "-o", "a.nii.gz", "--roi", "-8,-6,10,0,9,15")
    run(*common, "-o", "b.nii.gz", "--roi=0,-6,15,-8,9,10")
    assert Path("a.nii.gz").read_bytes() == Path("b.nii.gz").read_bytes()


def test_an_installed_model_is_used_by_its_name(run: Run, image: Path, tiny: Bundle, here: Path) -> None:
    pack(tiny.path, here / "tiny.zip")
    run("models", "install", "tiny.zip")
    document = run("segment", image, "--model", "tiny", "-o", "out.seg.nrrd", "--threads", 1)
    assert document["provenance"]["model"] == "tiny"


@pytest.mark.parametrize(("there", "options"), [("old", ["--overwrite"]), ("", [])])
def test_a_result_is_replaced_on_request_and_an_empty_file_that_reserves_its_name_always(
    run: Run, image: Path, tiny: Bundle, there: str, options: list[str]
) -> None:
    Path("out.nii.gz").write_text(there)
    run("segment", image, "--model", tiny.path, "-o", "out.nii.gz", "--no-mirror", "--threads", 1, *options)
    assert sitk.ReadImage("out.nii.gz").GetSize() == (30, 28, 20)


def test_people_read_volumes_in_ml(image: Path, tiny: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["segment", str(image), "--model", str(tiny.path), "-o", "out.seg.nrrd", "--threads", "1"]) == 0
    )
    printed = capsys.readouterr()
    assert "spleen" in printed.out
    assert " mL\n" in printed.out
    assert printed.out.endswith("Written to out.seg.nrrd.\n")
    assert printed.err == ""


def test_quiet_prints_nothing(image: Path, tiny: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", str(tiny.path), "-o", "out.seg.nrrd", "--threads", "1", "--quiet"]
    assert main(["segment", str(image), *options]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["segment", "--help"], ["models", "--help"], ["models", "import", "--help"], ["--version"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from mednext.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([m for m in ('torch', 'numpy', 'SimpleITK', 'requests') if m in sys.modules])"
    )
    answer = python("-c", code, *arguments)
    assert answer.returncode == 0
    assert "mednext" in answer.stdout
    assert answer.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    "arguments", [["models", "list"], ["models", "list", "--json"], ["models", "remove", "x"]]
)
def test_managing_models_does_not_import_torch(arguments: list[str]) -> None:
    code = "import sys; from mednext.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    assert python("-c", code, *arguments).returncode == 0


def test_the_package_is_a_command(here: Path) -> None:
    answer = python("-m", "mednext", "models", "list", "--json")
    assert answer.returncode == 0
    assert [task["name"] for task in json.loads(answer.stdout)["tasks"]][1:] == [
        "BTCV",
        "AMOS22",
        "KiTS19",
        "BraTS21",
        "BraTS23-glioma",
        "BraTS24-glioma",
        "BraTS24-meningioma",
        "BraTS26-metastases",
    ]


def test_models_are_listed_installed_exported_and_removed(
    run: Run, tiny: Bundle, here: Path, tmp_path: Path
) -> None:
    pack(tiny.path, here / "in.zip")
    installed = run("models", "install", "in.zip")["model"]
    assert installed["path"] == str(tmp_path / "models" / "tiny")
    assert installed in run("models", "list")["installed"]
    run("models", "export", "tiny", "out.zip")
    assert Path("out.zip").read_bytes() == Path("in.zip").read_bytes()
    run("models", "remove", "tiny")
    assert "tiny" not in [model["name"] for model in run("models", "list")["installed"]]
    run("models", "install", "out.zip")
    run("models", "install", "out.zip", "--overwrite")


def test_a_list_can_be_searched(run: Run, tiny: Bundle, here: Path) -> None:
    pack(tiny.path, here / "in.zip")
    run("models", "install", "in.zip")
    found = run("models", "list", "kidney", "CT")
    assert {task["name"] for task in found["tasks"]} == {"BTCV", "AMOS22", "KiTS19"}
    assert found["installed"] == []
    assert [model["name"] for model in run("models", "list", "tiny")["installed"]] == ["tiny"]


def test_the_list_names_the_tasks_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("BTCV" in line and "no published weights" in line for line in lines)
    assert "mednext models import" in lines[-1]


def test_a_model_is_installed_from_an_address_with_its_hash(run: Run, tiny: Bundle, here: Path) -> None:
    pack(tiny.path, here / "in.zip")
    data = Path("in.zip").read_bytes()
    with Server() as server:
        url = server.answer("/tiny.zip", serve(data))
        run("models", "install", url, "--sha256", hashlib.sha256(data).hexdigest())
    assert load_bundle("tiny").model.name == "tiny"


def test_a_monai_checkpoint_is_imported_after_a_dry_run(run: Run, here: Path, tmp_path: Path) -> None:
    import torch
    from monai.networks.nets import MedNeXt

    torch.manual_seed(0)
    network = MedNeXt(
        init_filters=8,
        in_channels=1,
        out_channels=3,
        encoder_expansion_ratio=2,
        decoder_expansion_ratio=2,
        bottleneck_expansion_ratio=2,
        deep_supervision=False,
    )
    torch.save(network.state_dict(), "weights.pt")
    description = {
        "channels": [{"name": "T1", "modality": "MR", "normalization": "zscore"}],
        "orientation": "RAS",
        "spacing": [1, 1, 1],
        "patch": [32, 32, 32],
        "pipeline": "nnunet_v2",
        "output": "softmax",
        "mirror_axes": [0, 1, 2],
    }
    description["labels"] = [
        {"value": 1, "name": "spleen", "color": [157, 108, 162]},
        {"value": 2, "name": "liver", "color": [221, 130, 101]},
    ]
    Path("more.json").write_text(json.dumps(description))
    options = ["--name", "mine", "--description", "more.json", "--licence", "MIT"]
    report = run("models", "import", "weights.pt", *options, "--dry-run")["report"]
    assert {"fact": "orientation", "value": "RAS", "source": "description"} in report["facts"]
    assert not (tmp_path / "models" / "mine").exists()
    done = run("models", "import", "weights.pt", *options)
    model = done["model"]
    assert done["report"] == report
    assert model["labels"] == {"spleen": 1, "liver": 2}
    assert model["licence"] == "MIT"
    assert load_bundle("mine").network(0)


def test_info_has_the_facts_that_a_bug_report_needs(
    run: Run, tiny: Bundle, here: Path, tmp_path: Path
) -> None:
    pack(tiny.path, here / "in.zip")
    run("models", "install", "in.zip")
    document = run("info")
    assert document["devices"][-1] == "cpu"
    assert document["packages"]["torch"]
    assert document["models_folder"] == str(tmp_path / "models")
    assert document["models"]["tiny"] == "1.0.0"


def test_info_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert "torch 2." in capsys.readouterr().out


@pytest.mark.usefixtures("children_hear_ctrl_c")
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_cancels_with_exit_code_130_and_leaves_no_model(tiny: Bundle, here: Path) -> None:
    pack(tiny.path, here / "in.zip")
    data = Path("in.zip").read_bytes()
    with Server() as server:
        url = server.answer("/tiny.zip", stall_after(data, 65536))
        command = ["models", "install", url, "--sha256", hashlib.sha256(data).hexdigest(), "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mednext", *command],
            env={**os.environ, "PYTHONPATH": ENGINE},
            stdout=subprocess.PIPE,
            text=True,
        )
        while not server.requests:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    assert process.returncode == 130
    assert json.loads(output)["error"] == "Cancelled"
    assert "tiny" not in store.installed_names()
