"""`mednext serve` and `--server`: keys, refusals before anything starts, and runs as a user begins them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import HeldEngines, bright, noise, running_server
from mednext.cli import main
from mednext.images.volume import read_volume, write_image
from mednext.server.keys import KeyFile

FOLDER = ("segment-folder", "--model", "tiny")


def run(capsys, *arguments):
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_keys_are_added_listed_and_revoked(tmp_path, capsys):
    file = ("--keys", tmp_path / "keys.json")
    code, added = run(capsys, "serve", "keys", "add", "jane", *file)
    assert code == 0
    assert KeyFile(tmp_path / "keys.json").owner_of(added["key"]).name == "jane"
    assert [each["name"] for each in run(capsys, "serve", "keys", "list", *file)[1]["keys"]] == ["jane"]
    assert run(capsys, "serve", "keys", "revoke", "jane", *file)[0] == 0
    assert run(capsys, "serve", "keys", "list", *file)[1]["keys"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "The server would have no user"),
        (("--host", "0.0.0.0"), "unencrypted"),
        (("--certificate", "x.pem"), "belong together"),
        (("--certificate", "x.pem", "--certificate-key", "x.key"), "are not a certificate and its key"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--largest", "0"), "--largest must be more than 0"),
        (("--replicas", "0"), "--replicas must be at least 1"),
    ],
)
def test_a_server_that_could_not_work_is_refused_in_a_sentence(tmp_path, capsys, arguments, told):
    if "--replicas" in arguments:
        KeyFile(tmp_path / "keys.json").add("jane")
    code = main(["serve", "--keys", str(tmp_path / "keys.json"), *arguments])
    assert code == 2
    assert told in capsys.readouterr().err


@pytest.fixture
def served(tmp_path, monkeypatch):
    engines = HeldEngines()
    engines.release.set()
    bundle = tiny_bundle(tmp_path / "models" / "tiny")
    with running_server(tmp_path, [bundle], engines) as server:
        monkeypatch.setenv("MEDNEXT_SERVER_KEY", server.access().key)
        monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "none"))
        yield server


def test_a_file_is_segmented_on_a_server(tmp_path, capsys, served):
    image = noise()
    write_image(tmp_path / "t1.nii.gz", image.array[0], image.geometry)
    code, document = run(
        capsys,
        *("segment", tmp_path / "t1.nii.gz", "-o", tmp_path / "out.nii.gz"),
        *("--model", "tiny", "--server", served.address),
    )
    assert code == 0, document
    assert document["provenance"]["server"] == served.access().name
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz")))
    assert np.array_equal(written, bright(read_volume(tmp_path / "t1.nii.gz").array))


def test_a_folder_is_segmented_on_a_server_and_resumed(tmp_path, capsys, served):
    (tmp_path / "in").mkdir()
    for number in range(3):
        image = noise(number)
        write_image(tmp_path / "in" / f"case{number}.nii.gz", image.array[0], image.geometry)
    command = (*FOLDER, tmp_path / "in", tmp_path / "out", "--server", served.address)
    code, document = run(capsys, *command)
    assert code == 0, document
    assert [row["status"] for row in document["cases"]] == ["done"] * 3
    begun = len(served.service.dispatcher._engines.begun)
    assert run(capsys, *command)[0] == 0
    assert begun == len(served.service.dispatcher._engines.begun) == 3


def test_a_lost_server_ends_a_batch_and_keeps_the_finished_cases(tmp_path, capsys, served):
    image = noise()
    (tmp_path / "in").mkdir()
    command = (*FOLDER, tmp_path / "in", tmp_path / "out", "--server", served.address)
    write_image(tmp_path / "in" / "a.nii.gz", image.array[0], image.geometry)
    assert run(capsys, *command)[0] == 0
    write_image(tmp_path / "in" / "b.nii.gz", image.array[0], image.geometry)
    served.keys.revoke("jane")
    code, document = run(capsys, *command)
    assert (code, document["error"]) == (2, "ServerAccessError")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.seg.nrrd", "report.csv"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--server", "http://gpu.example:8080"), "unencrypted"),
        (("--server", "ftp://gpu.example"), "only http and https"),
        (("--server", "https://jane:secret@gpu.example"), "more than a server and a path"),
        (("--server", "http://127.0.0.1:1", "--device", "cpu"), "--device is for runs without --server"),
        (("--server", "http://127.0.0.1:1", "--server-key", "nowhere"), "cannot be read from nowhere"),
        (("--server-key", "x"), "add --server ADDRESS"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path, capsys, monkeypatch, arguments, told
):
    monkeypatch.setenv("MEDNEXT_SERVER_KEY", "k")
    code, document = run(capsys, "segment", "x.nii.gz", "-o", tmp_path / "o.nii.gz", *arguments)
    assert code == 2
    assert told in document["message"]
    assert "secret" not in document["message"]


def test_the_connection_is_tested_from_the_command_line(capsys, served):
    code, document = run(capsys, "info", "--server", served.address)
    assert code == 0
    assert [model["name"] for model in document["models"]] == ["tiny"]
    served.keys.revoke("jane")
    assert run(capsys, "info", "--server", served.address)[1]["error"] == "ServerAccessError"


def test_workers_of_this_computer_and_a_server_exclude_each_other(tmp_path, capsys, served):
    code, document = run(
        capsys, *FOLDER, tmp_path, tmp_path / "out", "--server", served.address, "--workers", "2"
    )
    assert code == 2
    assert "--workers is for runs without --server" in document["message"]


def without_torch(folder, *arguments):
    """Run the command where neither torch nor safetensors is installed, with an image "t1.nii.gz"."""
    image = noise()
    write_image(folder / "t1.nii.gz", image.array[0], image.geometry)
    program = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['safetensors'] = None\n"
        "from mednext.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_client_needs_no_torch(tmp_path, served):
    segment = ("segment", "t1.nii.gz", "-o", "o.nii.gz", "--model", "tiny", "--server", served.address)
    done = without_torch(tmp_path, *segment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.nii.gz").exists()


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["segment", "t1.nii.gz", "-o", "o.nii.gz"], 2, "A run on a server needs none here"),
        (["info"], 0, "none"),
    ],
)
def test_a_client_without_torch_is_told_so(tmp_path, command, code, told):
    done = without_torch(tmp_path, *command)
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr
    assert "fault" not in done.stderr
