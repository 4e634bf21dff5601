"""The catalog of tasks and models: its contents, its checks, its sources."""

from __future__ import annotations

import copy
import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.downloads.http_server import Server, redirect, serve, stall_before_head, status
from fixtures.models.schemas import validator
from mednext.errors import CatalogError
from mednext.library import catalog_source
from mednext.library.catalog import read_catalog
from mednext.library.catalog_source import load_catalog
from mednext.library.folder_locations import shipped_models_folder
from mednext.library.web_address import check_address, is_private

SHIPPED = shipped_models_folder() / "catalog.json"
DOWNLOAD = {"urls": ["https://a.example/m.zip"], "sha256": "0" * 64, "bytes": 5}

Change = Callable[[dict[str, Any]], Any]

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def content() -> dict[str, Any]:
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


def written(content: object, folder: Path) -> Path:
    path = folder / "catalog.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


LATER_BRATS = {"BraTS23-glioma", "BraTS24-glioma", "BraTS24-meningioma", "BraTS26-metastases"}


def test_a_task_is_found_by_its_name_in_any_case() -> None:
    task = load_catalog().task("brats21")
    assert task is not None
    assert [image.name for image in task.channels] == ["T1", "T1ce", "T2", "FLAIR"]
    assert load_catalog().task("unheard-of") is None


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("kidney", {"BTCV", "AMOS22", "KiTS19"}),
        ("KIDNEY tumour", {"KiTS19"}),
        ("flair", {"BraTS21", *LATER_BRATS} - {"BraTS24-meningioma"}),
        ("", {"hippocampus", "BTCV", "AMOS22", "KiTS19", "BraTS21", *LATER_BRATS}),
        ("femur", set()),
    ],
)
def test_tasks_are_found_by_any_of_their_words(words: str, found: set[str]) -> None:
    assert {task.name for task in load_catalog().search(words)} == found


def test_a_published_model_has_its_task_and_download(content: dict[str, Any], tmp_path: Path) -> None:
    model = {"name": "btcv-s", "task": "BTCV", "title": "S", "version": "1", "licence": "CC0-1.0"}
    content["models"].append({**model, "download": DOWNLOAD})
    catalog = read_catalog(written(content, tmp_path))
    (published,) = catalog.models_for("BTCV")
    assert published is catalog.model("btcv-s")
    assert published.download is not None
    assert published.download.urls == ("https://a.example/m.zip",)


WRONG: dict[str, tuple[Change, str]] = {
    "another version": (lambda c: c.update(format_version=2), "format version 2"),
    "no tasks": (lambda c: c.update(tasks=[]), "'tasks'"),
    "no models": (lambda c: c.pop("models"), "'models' is missing"),
    "an unknown field": (lambda c: c.update(extra=1), "'extra'"),
    "a task without a title": (lambda c: c["tasks"][1].pop("title"), r"tasks\[1\].*'title'"),
    "a name that leaves the folder": (lambda c: c["tasks"][0].update(name="../x"), r"tasks\[0\]: 'name'"),
    "no channels": (lambda c: c["tasks"][0].update(channels=[]), "'channels'"),
    "a channel without modality": (lambda c: c["tasks"][0]["channels"][0].pop("modality"), "'modality'"),
    "a label of the background's value": (lambda c: c["tasks"][0]["labels"][0].update(value=0), "'value'"),
    "an impossible colour": (lambda c: c["tasks"][0]["labels"][0].update(color=[0, 0, 256]), "'color'"),
    "a citation that is a number": (lambda c: c["tasks"][0].update(citations=[7]), "'citations'"),
    "a data set without cases": (lambda c: c["tasks"][0]["dataset"].update(cases=0), "dataset: 'cases'"),
    "another access": (lambda c: c["tasks"][0]["dataset"].update(access="stolen"), "'access'"),
    "a download from a file": (
        lambda c: c["models"][0].update(download={**DOWNLOAD, "urls": ["file:///m.zip"]}),
        "'urls'",
    ),
    "a download without mirrors": (
        lambda c: c["models"][0].update(download={**DOWNLOAD, "urls": []}),
        "'urls'",
    ),
    "a malformed hash": (
        lambda c: c["models"][0].update(download={**DOWNLOAD, "sha256": "abc"}),
        "'sha256'",
    ),
    "an unknown checkpoint": (
        lambda c: c["models"][1]["elsewhere"].update(checkpoint="last"),
        "'checkpoint'",
    ),
    "no folds": (lambda c: c["models"][1]["elsewhere"].update(folds=[]), "'folds'"),
    "no file elsewhere": (lambda c: c["models"][1]["elsewhere"].update(files=[]), "'files'"),
    "an orientation that is none": (
        lambda c: c["models"][1]["elsewhere"].update(orientation="up"),
        "'orientation'",
    ),
    "a model of which nobody says what was not tested": (
        lambda c: c["models"][1]["elsewhere"].pop("untested"),
        "'untested'",
    ),
    "an impossible size": (lambda c: c["models"][0].update(download={**DOWNLOAD, "bytes": 0}), "'bytes'"),
}
CONTRADICTIONS: dict[str, tuple[Change, str]] = {  # beyond a JSON schema
    "a task twice": (lambda c: c["tasks"].append(copy.deepcopy(c["tasks"][0])), "'hippocampus' twice"),
    "a label value twice": (lambda c: c["tasks"][0]["labels"][1].update(value=1), "1 twice"),
    "a model twice": (lambda c: c["models"].append(copy.deepcopy(c["models"][0])), "'hippocampus' twice"),
    "an address without a server": (
        lambda c: c["models"][0].update(download={**DOWNLOAD, "urls": ["https://[x"]}),
        "'urls'",
    ),
    "an address with an impossible port": (
        lambda c: c["models"][0].update(download={**DOWNLOAD, "urls": ["https://a.example:http/"]}),
        "'urls'",
    ),
    "a citation of half a character": (
        lambda c: c["tasks"][0].update(citations=["\ud800"]),
        "'citations'",
    ),
    "a title of a megabyte": (lambda c: c["tasks"][0].update(title="x" * 10**6), "at most 20000 characters"),
    "a file that leaves the folder": (
        lambda c: c["models"][1]["elsewhere"]["files"][0].update(path="../plans.json"),
        "does not stay in its folder",
    ),
    "files elsewhere by http": (
        lambda c: c["models"][1]["elsewhere"].update(folder="http://a.example/b"),
        "'folder'.*not of https",
    ),
    "a download and files elsewhere": (lambda c: c["models"][1].update(download=DOWNLOAD), "has one of them"),
    "a hint at a model that is not there": (lambda c: c["tasks"][0].update(see=["femur"]), "'femur'"),
    "a model of no task": (lambda c: c["models"][0].update(task="femur"), "'femur', which is no task"),
}


@pytest.mark.parametrize("case", [*WRONG, *CONTRADICTIONS])
def test_a_wrong_catalog_is_refused_by_an_error_that_names_the_field(
    case: str, content: dict[str, Any], tmp_path: Path
) -> None:
    change, message = {**WRONG, **CONTRADICTIONS}[case]
    change(content)
    with pytest.raises(CatalogError, match=message):
        read_catalog(written(content, tmp_path))


@pytest.mark.parametrize("case", WRONG)
def test_the_json_schema_refuses_the_same_catalogs(case: str, content: dict[str, Any]) -> None:
    schema = validator("catalog.schema.json")
    schema.validate(content)
    WRONG[case][0](content)
    assert not schema.is_valid(content)


def renamed(content: dict[str, Any], title: str) -> bytes:
    content["tasks"][0]["title"] = title
    return json.dumps(content).encode()


def test_the_catalog_of_the_url_is_used_and_kept_for_offline_days(
    content: dict[str, Any], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.answer("/catalog.json", serve(renamed(content, "Of the hospital")), status(500))
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", url)
    assert load_catalog(refresh=True).tasks[0].title == "Of the hospital"
    assert load_catalog(refresh=True).tasks[0].title == "Of the hospital"
    assert load_catalog().tasks[0].title == "Of the hospital"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [status(404), serve(b"<html>log in</html>"), serve(b'{"format_version": 9}'), stall_before_head()],
    ids=["missing", "not json", "too new", "silent"],
)
def test_without_the_catalog_of_the_url_the_shipped_one_is_used_with_a_warning(
    answer: Any,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(catalog_source, "SILENCE_S", 0.2)
    url = server.answer("/catalog.json", answer)
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", url)
    with caplog.at_level(logging.WARNING):
        assert load_catalog(refresh=True) == read_catalog(SHIPPED)
    assert url in caplog.text
    assert "the shipped one" in caplog.text
    assert list((tmp_path / "models").glob("*")) == []


def test_a_damaged_copy_of_a_downloaded_catalog_is_not_used(
    content: dict[str, Any], server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", server.answer("/c.json", serve(renamed(content, "Other"))))
    load_catalog(refresh=True)
    (kept,) = (tmp_path / "models").iterdir()
    kept.write_text("{")
    assert load_catalog() == read_catalog(SHIPPED)


def test_a_local_file_is_refused_as_catalog_url(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content["tasks"][0]["title"] = "From a file"
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", written(content, tmp_path).as_uri())
    assert load_catalog(refresh=True) == read_catalog(SHIPPED)


def test_a_catalog_of_brackets_is_refused(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"tasks":' * 50_000, "9" * 5000, "\0", ""):
        (tmp_path / "catalog.json").write_text(text)
        with pytest.raises(CatalogError):
            read_catalog(tmp_path / "catalog.json")


@pytest.mark.parametrize("depth", [70, 300, 900, 940, 960, 970, 980, 985, 990])
def test_a_catalog_of_deep_lists_is_refused_however_near_the_end_of_the_stack_they_come(
    depth: int, content: dict[str, Any], tmp_path: Path
) -> None:
    text = json.dumps(content).replace('"tasks": [', f'"tasks": [{"[" * depth}{"]" * depth}, ', 1)
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(CatalogError):
        read_catalog(tmp_path / "catalog.json")


def test_a_catalog_of_many_tasks_and_models_is_read_without_comparing_each_with_each(
    content: dict[str, Any], tmp_path: Path
) -> None:
    task, model = content["tasks"][0], content["models"][0]
    content["tasks"] = [{**task, "name": f"t{number}"} for number in range(3000)]
    content["models"] = [{**model, "name": f"m{number}", "task": "t0"} for number in range(30_000)]
    assert len(read_catalog(written(content, tmp_path)).models) == 30_000
    many = ", ".join(f'"a{number}": 1' for number in range(300_000))
    (tmp_path / "catalog.json").write_text(f'{{{many}, "a299999": 1}}')
    with pytest.raises(CatalogError, match="'a299999' is given twice"):
        read_catalog(tmp_path / "catalog.json")


@pytest.mark.parametrize(
    "url",
    [
        "http://[x",
        "https://a:b/",
        "https://a.example:99999/c.json",
        "c.json",
        "https://",
        "https://a b.example/",
        "ftp://a.example/c.json",
        "\x1b[2J",
        "https://a..example/",
        "https://" + "x" * 100_000,
    ],
)
def test_a_malformed_address_is_reported_and_the_shipped_catalog_used(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog_source, "SILENCE_S", 1.0)
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", url)
    assert load_catalog(refresh=True) == load_catalog() == read_catalog(SHIPPED)
    (message, *_) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert message.isprintable()
    assert len(message) < 1000


@pytest.fixture
def no_dns(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that "hospital.example" leads to."""
    real = socket.getaddrinfo

    def found(host: str, *rest: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "hospital.example" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,hospital.example")
    return server


def test_a_catalog_by_http_is_refused_before_anything_is_asked(
    content: dict[str, Any], no_dns: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = no_dns.answer("/c.json", serve(renamed(content, "Of somebody")))
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", url.replace("127.0.0.1", "hospital.example"))
    assert load_catalog(refresh=True) == read_catalog(SHIPPED)
    assert no_dns.requests == []
    assert "MEDNEXT_CATALOG_BY_HTTP=1" in caplog.text


def test_a_catalog_by_http_is_used_with_a_warning_as_long_as_that_is_allowed(
    content: dict[str, Any], no_dns: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = no_dns.answer("/c.json", serve(renamed(content, "Of the hospital")))
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", url.replace("127.0.0.1", "hospital.example"))
    monkeypatch.setenv("MEDNEXT_CATALOG_BY_HTTP", "1")
    remarks: list[str] = []
    assert load_catalog(refresh=True, remarks=remarks).tasks[0].title == "Of the hospital"
    assert "anybody on the way can change it" in caplog.text
    assert ["anybody on the way can change it" in remark for remark in remarks] == [True]
    monkeypatch.delenv("MEDNEXT_CATALOG_BY_HTTP")
    assert load_catalog() == read_catalog(SHIPPED)


@pytest.mark.parametrize(
    "steps", [["http://hospital.example"], ["http://hospital.example", "http://127.0.0.1"]]
)
def test_a_catalog_that_is_redirected_to_http_is_refused(
    steps: list[str],
    content: dict[str, Any],
    no_dns: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Even if the last address is private: anybody on the way could have changed the redirect."""
    for number, step in enumerate(steps):
        no_dns.answer(f"/{number}", redirect(f"{step}:{no_dns.server_port}/{number + 1}"))
    no_dns.answer(f"/{len(steps)}", serve(renamed(content, "Of somebody")))
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", f"{no_dns.address}/0")
    assert load_catalog(refresh=True) == read_catalog(SHIPPED)
    assert "hospital.example" in caplog.text
    assert list(Path(os.environ["MEDNEXT_MODELS"]).glob("*")) == []


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://a.example/", True),
        ("http://localhost:8000/", True),
        ("http://127.0.0.2/", True),
        ("http://[::1]:80/", True),
        ("http://a.example/", False),
        ("http://localhost.example/", False),
        ("http://127.0.0.1.example/", False),
        ("http://10.0.0.1/", False),
        ("http://127.0.0.1@a.example/", False),
        ("http://m\u00fcnchen.example/", False),
    ],
)
def test_only_https_and_this_computer_itself_are_private(url: str, private: bool) -> None:
    check_address(url)
    assert is_private(url) == private


def test_a_forbidden_models_folder_does_not_stop_the_catalog(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forbidden(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setenv("MEDNEXT_CATALOG_URL", "https://a.example/c.json")
    monkeypatch.setattr(Path, "is_file", forbidden)
    assert load_catalog() == read_catalog(SHIPPED)
