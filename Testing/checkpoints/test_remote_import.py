"""Checkpoints from addresses: the wanted fold of a record of gigabytes becomes a model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fixtures.downloads.fetched_file import SHORT
from fixtures.downloads.http_server import Server, serve
from fixtures.downloads.remote_zips import GLIOMA, MENINGIOMA, TRAINER, Ranges, write_record
from fixtures.models.results_folders import TRAINED_NETWORK, assert_same_output, write_v1_folder
from mednext.checkpoints import ImportOptions
from mednext.checkpoints.installing import Installing
from mednext.checkpoints.remote.address import install_from_address
from mednext.cli import main
from mednext.errors import (
    CheckpointError,
    DiskSpaceError,
    DownloadError,
    DownloadIntegrityError,
    OutOfMemoryError,
)
from mednext.library import first_use, import_memory
from mednext.library.model_by_name import load_bundle
from mednext.library.store import installed_names
from mednext.model.description import Model

OPTIONS = ImportOptions(labels={1: "gtv", 2: "edema"}, orientation="LPS", half=False)
BEST = "fold_0/model_best.model"

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the best weights of fold 0 alone, as the record has them."""
    folder = tmp_path_factory.mktemp("results") / TRAINER
    weights = write_v1_folder(folder)
    for suffix in ("", ".pkl"):
        final = folder / "fold_0" / f"model_final_checkpoint.model{suffix}"
        final.rename(final.with_name(f"model_best.model{suffix}"))
    torch.save(weights[0], folder.parent / "weights.pt")
    return folder


@pytest.fixture(scope="module")
def record(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("record") / "record.zip"
    write_record(path, {GLIOMA: results, MENINGIOMA: results})
    yield path
    path.unlink()


@pytest.fixture
def served(record: Path, server: Server) -> Ranges:
    answer = Ranges(record)
    server.answer("/record.zip", answer)
    return answer


def install(server: Server, *members: str, name: str = "tumour", **choices: Any) -> Model:
    how = Installing(patience=SHORT, **choices)
    return install_from_address(f"{server.address}/record.zip", members, name, OPTIONS, how)[0]


def test_one_fold_of_the_record_becomes_a_model(server: Server, served: Ranges, results: Path) -> None:
    model = install(server, f"{GLIOMA}/{BEST}")
    bundle = load_bundle("tumour")
    assert [fold.index for fold in model.folds] == [0]
    assert_same_output(bundle, 0, TRAINED_NETWORK, torch.load(results.parent / "weights.pt"))
    assert served.sent < 2 * sum(path.stat().st_size for path in results.rglob("*")) + 2**18


def test_the_plans_beside_the_weights_come_with_them(server: Server, served: Ranges) -> None:
    sources = install_and_list(server, f"{GLIOMA}/{BEST}")
    assert sources == {f"{GLIOMA}/{name}" for name in (BEST, f"{BEST}.pkl", "plans.pkl")}


def install_and_list(server: Server, *members: str) -> set[str]:
    """Install, and return the members whose digests were kept."""
    install(server, *members)
    kept = json.loads((Path(os.environ["MEDNEXT_MODELS"]) / first_use.LEDGER).read_text(encoding="utf-8"))
    return {source.partition("!/")[2] for source in kept["files"]}


def test_several_members_can_be_named(server: Server, served: Ranges) -> None:
    names = [f"{MENINGIOMA}/{name}" for name in (BEST, f"{BEST}.pkl", "plans.pkl")]
    assert install_and_list(server, *names) == set(names)


def test_nothing_is_left_but_the_model_and_the_digests(server: Server, served: Ranges, models: Path) -> None:
    install(server, f"{GLIOMA}/{BEST}")
    assert sorted(path.name for path in models.iterdir()) == [".downloads", ".first-use.json", "tumour"]
    assert list((models / ".downloads").iterdir()) == []


def test_the_same_bytes_are_installed_again_and_other_ones_refused_with_both_digests(
    server: Server, served: Ranges, record: Path, results: Path, tmp_path: Path
) -> None:
    install(server, f"{GLIOMA}/{BEST}")
    install(server, f"{GLIOMA}/{BEST}", overwrite=True)
    other = tmp_path / "other" / TRAINER
    write_v1_folder(other, folds=(3,))
    (other / "fold_3").rename(other / "fold_0")
    for suffix in ("", ".pkl"):
        file = other / "fold_0" / f"model_final_checkpoint.model{suffix}"
        file.rename(file.with_name(f"model_best.model{suffix}"))
    write_record(tmp_path / "newer.zip", {GLIOMA: other, MENINGIOMA: results})
    server.answer("/record.zip", Ranges(tmp_path / "newer.zip"))
    before = load_bundle("tumour").model
    with pytest.raises(DownloadIntegrityError, match=r"SHA-256 was [0-9a-f]{64}, and is [0-9a-f]{64} now"):
        install(server, f"{GLIOMA}/{BEST}", overwrite=True)
    assert load_bundle("tumour").model == before
    install(server, f"{GLIOMA}/{BEST}", overwrite=True, accept_change=True)
    assert load_bundle("tumour").model.folds != before.folds
    install(server, f"{GLIOMA}/{BEST}", overwrite=True)


def test_a_damaged_file_of_digests_is_no_reason_to_trust(
    server: Server, served: Ranges, models: Path
) -> None:
    models.mkdir()
    (models / first_use.LEDGER).write_text('{"format_version": 1, "files": {"x": {}}}', encoding="utf-8")
    with pytest.raises(DownloadIntegrityError, match="sha256"):
        install(server, f"{GLIOMA}/{BEST}")
    assert "tumour" not in installed_names()


def test_a_cancelled_download_is_resumed(server: Server, served: Ranges) -> None:
    def cancel(arrived: int, total: int | None) -> None:
        if arrived > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(server, f"{GLIOMA}/{BEST}", progress=cancel)
    sent = served.sent
    install(server, f"{GLIOMA}/{BEST}")
    assert served.sent - sent < sent + 2**18


def test_progress_reaches_the_sum_of_all_members(server: Server, served: Ranges) -> None:
    seen: list[tuple[int, int | None]] = []
    install(server, f"{GLIOMA}/{BEST}", progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1


def test_a_killed_process_is_resumed_by_the_next(
    server: Server, served: Ranges, record: Path, models: Path
) -> None:
    url = f"{server.address}/record.zip"
    command = [sys.executable, "-m", "mednext", "models", "import", url, f"--member={GLIOMA}/{BEST}"]
    options = ["--name=tumour", "--labels=1=gtv,2=edema", "--orientation=LPS"]
    bodies: list[int] = []

    def break_off_in_the_member(_number: int, body: bytes) -> bytes:
        is_after = max(bodies, default=0) > 100_000  # the member has more bytes than other answers
        bodies.append(len(body))
        return b"" if is_after else body[:140_000]

    served.change = break_off_in_the_member
    process = subprocess.Popen([*command, *options])
    while not any(path.stat().st_size >= 100_000 for path in models.rglob("*.part")):
        assert process.poll() is None  # else pytest's time limit ends this
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    served.change = lambda _number, body: body
    sent = served.sent
    install(server, f"{GLIOMA}/{BEST}")
    assert load_bundle("tumour").network(0)
    assert served.sent - sent < sent + 2**18


def test_a_full_disk_is_told_before_the_first_byte_of_a_member(
    server: Server, served: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DiskSpaceError, match="The download needs"):
        install(server, f"{GLIOMA}/{BEST}")
    assert served.sent < 2**18


def test_the_memory_of_the_import_is_said_before_it_starts(
    server: Server, served: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_memory, "WORTH_SAYING", 0)
    said: list[str] = []
    install(server, f"{GLIOMA}/{BEST}", say=said.append)
    assert any("takes up to" in sentence and "of memory" in sentence for sentence in said)


def test_an_import_that_needs_more_memory_than_there_is_is_refused(
    server: Server, served: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_memory, "obtainable_memory", lambda: 1000)
    with pytest.raises(OutOfMemoryError, match="only 0 MiB are free"):
        install(server, f"{GLIOMA}/{BEST}")


def test_five_folds_of_mednext_l_with_kernel_5_are_told_their_memory(tmp_path: Path) -> None:
    for fold in range(5):
        file = tmp_path / f"fold_{fold}" / "model_best.model"
        file.parent.mkdir()
        with file.open("wb") as sparse:
            sparse.truncate(756_571_979)
    said: list[str] = []
    import_memory.check_memory(tmp_path, (0,), said.append)
    import_memory.check_memory(tmp_path, (0, 1), said.append)
    assert "up to 1227 MiB" in said[0]  # 1,217 were measured
    assert "up to 1948 MiB" in said[1]  # 1,833 were measured


def test_the_channels_can_be_named_where_the_plans_name_them_wrongly(server: Server, served: Ranges) -> None:
    url = f"{server.address}/record.zip"
    options = ImportOptions(labels=OPTIONS.labels, orientation="LPS", channels=("FLAIR",))
    model, _ = install_from_address(url, [f"{GLIOMA}/{BEST}"], "tumour", options, Installing(patience=SHORT))
    assert [channel.name for channel in model.channels] == ["FLAIR"]
    two = ImportOptions(labels=OPTIONS.labels, orientation="LPS", channels=("T1", "FLAIR"))
    with pytest.raises(CheckpointError, match="takes 1 channels, but 2 were named"):
        install_from_address(url, [f"{GLIOMA}/{BEST}"], "b", two, Installing(patience=SHORT))


def test_the_members_are_listed_with_their_sizes(
    server: Server, served: Ranges, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{server.address}/record.zip"
    assert main(["models", "import", url, "--list", "--member", "Task241", "--member", "best"]) == 0
    assert f"{GLIOMA}/{BEST}" in capsys.readouterr().out
    assert main(["models", "import", url, "--list", "--json"]) == 0
    listed = {each["name"]: each["bytes"] for each in json.loads(capsys.readouterr().out)["members"]}
    assert listed["Synthesis/Task7/weights.pt"] == 2**32 + 12345


def test_the_command_fetches_a_member(
    server: Server, served: Ranges, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{server.address}/record.zip"
    words = ["models", "import", url, f"--member={GLIOMA}/{BEST}", "--name=tumour"]
    assert main([*words, "--labels=1=gtv,2=edema", "--orientation=LPS"]) == 0
    told = capsys.readouterr().out
    assert "First use: the SHA-256 of these files is not published" in told and "Installed tumour" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{url}", "--name=a"], "Name the members|--member"),
        (["{url}", "--member=plans.pkl"], "--name is missing"),
        (["{url}", "--member=plans.pkl", "--name=a"], "fits 2 places"),
        (["folder", "--member=plans.pkl", "--name=a"], "need an address"),
        (["http://records.example/a.zip", "--member=plans.pkl", "--name=a"], "address of http"),
    ],
)
def test_wrong_words_are_explained(
    words: list[str], message: str, server: Server, served: Ranges, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{server.address}/record.zip"
    assert main(["models", "import", *(word.format(url=url) for word in words)]) == 2
    import re

    assert re.search(message, capsys.readouterr().err)


def test_a_file_of_weights_has_an_address_of_its_own(server: Server, results: Path, tmp_path: Path) -> None:
    data = (results.parent / "weights.pt").read_bytes()
    url = server.answer("/weights.pt", serve(data, hang_up_after=100_000), serve(data))
    with pytest.raises(CheckpointError, match="description"):
        install_from_address(url, (), "tumour", ImportOptions(), Installing(patience=SHORT))


def test_a_file_without_a_known_size_is_refused(server: Server) -> None:
    from fixtures.downloads.http_server import unsized

    url = server.answer("/weights.pt", unsized(b"abc"))
    with pytest.raises(DownloadError, match="does not tell the size"):
        install_from_address(url, (), "tumour", how=Installing(patience=SHORT))


def test_a_part_without_a_version_is_begun_anew(server: Server) -> None:
    """Nothing would tell whether the rest is of the same file."""
    content = b"x" * 300_000

    def answer(handler: object) -> None:
        serve(content, etag="", hang_up_after=100_000)(handler)  # type: ignore[arg-type]

    url = server.answer("/weights.pt", answer, answer, answer, serve(content, etag=""))
    with pytest.raises(DownloadError):
        install_from_address(url, (), "tumour", how=Installing(patience=SHORT))
    assert {request.headers["Range"] for request in server.requests} == {None}
