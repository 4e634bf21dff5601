"""A batch from a real archive and back: Orthanc, with faults of the network in between."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fixtures.batch.cases import add_image, noise
from fixtures.documented import DOCS, commands
from fixtures.images.dicom_files import change, write_series
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.faulty_proxy import Answer, FaultyProxy
from fixtures.servers.orthanc import PASSWORD, USER, Orthanc, missing, orthanc
from mednext import read_volume, segment
from mednext.cli import main
from mednext.dicomweb import archive as archive_module
from mednext.dicomweb.archive import Archive, Credentials
from mednext.dicomweb.retrieval import retrieved
from mednext.dicomweb.search import Selection, cases_in_archive
from mednext.errors import ArchiveError
from mednext.images.geometry import Geometry
from mednext.model.description import Channel

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")

GRID = Geometry((22, 20, 18), (1.0, 1.0, 1.0), (-10.0, -12.0, 5.0))
DONE, REFUSED, FAILED = 0, 2, 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    channels = (Channel("CT", "CT", "zscore"),)
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", channels=channels, mirror_axes=())


@pytest.fixture
def archive(server: Orthanc, monkeypatch: pytest.MonkeyPatch) -> Orthanc:
    """The archive, empty, with its credentials in the environment; repeated attempts do not wait."""
    server.clear()
    monkeypatch.setenv("MEDNEXT_DICOMWEB_USER", USER)
    monkeypatch.setenv("MEDNEXT_DICOMWEB_PASSWORD", PASSWORD)
    monkeypatch.setattr(archive_module, "_PAUSES_S", (0.0, 0.0))
    return server


@pytest.fixture
def series(archive: Orthanc, tmp_path: Path) -> Path:
    """A CT series in the archive, and its files."""
    folder = tmp_path / "series"
    write_series(folder, noise(1), GRID)
    archive.add(folder.iterdir())
    return folder


@pytest.fixture
def run(tiny: Any, tmp_path: Path) -> Any:
    def run_it(place: str | Path, *options: str) -> int:
        fixed = ["--model", str(tiny.path), "--device", "cpu", "--threads", "1"]
        return main(["segment-folder", str(place), str(tmp_path / "out"), *fixed, *options])

    return run_it


ALL = ("--query", "StudyDate=20260101")


def rows(tmp_path: Path) -> list[dict[str, str]]:
    """The rows of the report of cases that were not left out."""
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.DictReader(file) if row["status"] != "left out"]


def segmentations(server: Orthanc) -> list[str]:
    """The SEG series in the archive."""
    return [
        found
        for found in server.get("/series")
        if server.get(f"/series/{found}")["MainDicomTags"]["Modality"] == "SEG"
    ]


def hidden(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "out").rglob(".*"))


def test_a_series_comes_from_the_archive_and_its_dicom_seg_goes_there(
    run: Any, archive: Orthanc, series: Path, tiny: Any, tmp_path: Path
) -> None:
    assert run(archive.address, *ALL, "--store", archive.address) == DONE
    (row,) = rows(tmp_path)
    expected = segment(read_volume(series), tiny, device="cpu", threads=1)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / row["output"])))
    np.testing.assert_array_equal(labels, expected.labelmap)
    (stored,) = segmentations(archive)
    assert row["stored"] == archive.address
    seg = highdicom.seg.segread(tmp_path / "out" / row["dicom_seg"])
    source = pydicom.dcmread(next(series.iterdir()))
    assert archive.get(f"/series/{stored}")["MainDicomTags"]["SeriesInstanceUID"] == seg.SeriesInstanceUID
    assert (seg.StudyInstanceUID, seg.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert np.count_nonzero(seg.pixel_array) == np.count_nonzero(expected.labelmap)
    assert not hidden(tmp_path)


def test_the_commands_of_the_page_for_departments(
    archive: Orthanc, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """With this archive's address and study, and no workers: `test_workers_retrieve_and_store_too` and
    `test_many_workers.py` have some.
    """
    study = pydicom.dcmread(next(series.iterdir())).StudyInstanceUID
    add_image(tmp_path / "images" / "one.nii.gz")
    tiny_bundle(tmp_path / "models" / "liver", channels=(Channel("CT", "CT", "zscore"),))
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    typed = [words for words in commands(DOCS / "department.md") if "--ray" not in words]
    for words in typed:
        here = [archive.address if "://" in word else word for word in words]
        here = [study if word == "1.2.840.1" else word for word in here]
        if "--workers" in here:
            place = here.index("--workers")
            del here[place : place + 2]
        assert main(here) == DONE, words
    assert study in capsys.readouterr().out
    assert (tmp_path / "results" / "one.seg.nrrd").is_file()
    assert len(segmentations(archive)) == 1


def test_a_second_run_neither_segments_nor_stores_again(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert run(archive.address, *ALL, "--store", archive.address) == DONE
    assert len({row["time"] for row in rows(tmp_path)}) == len(segmentations(archive)) == 1


def test_a_run_killed_after_storing_stores_the_same_object_again(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    run(archive.address, *ALL, "--store", archive.address)
    (record,) = (tmp_path / "out").rglob("*.stored.json")
    record.unlink()  # as if the process had been killed before it wrote the record
    assert run(archive.address, *ALL, "--store", archive.address) == DONE
    assert len(segmentations(archive)) == 1 and record.exists()


def test_workers_retrieve_and_store_too(run: Any, archive: Orthanc, series: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "other", noise(2), GRID)
    archive.add((tmp_path / "other").iterdir())
    assert run(archive.address, *ALL, "--store", archive.address, "--workers", "1") == DONE
    assert len(segmentations(archive)) == 2 and not hidden(tmp_path)


def test_a_folder_of_dicom_can_be_stored_in_the_archive(run: Any, archive: Orthanc, series: Path) -> None:
    assert run(series, "--store", archive.address) == DONE
    assert len(segmentations(archive)) == 1


def test_a_result_that_could_not_be_stored_is_stored_by_the_next_run(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    with FaultyProxy(archive.address) as proxy:
        proxy.fail("POST", lambda answer: replace(answer, status=507), times=1)
        assert run(series, "--store", proxy.address) == FAILED
        (row,) = rows(tmp_path)
        assert row["error"] == "ArchiveError" and "507" in row["message"]
        (result,) = (tmp_path / "out").glob("*.seg.nrrd")
        written = result.stat().st_mtime_ns
        assert run(series, "--store", proxy.address) == DONE
    assert result.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", ["PatientID", "PatientBirthDate"])
def test_nothing_is_stored_in_the_study_of_another_patient(
    name: str, run: Any, archive: Orthanc, tmp_path: Path
) -> None:
    folder = tmp_path / "series"
    write_series(folder, noise(1), GRID)
    change(folder, lambda dataset, _: setattr(dataset, "PatientBirthDate", "19700101"))
    archive.add(folder.iterdir())
    change(folder, lambda dataset, _: setattr(dataset, name, {"PatientID": "T2"}.get(name, "19710101")))
    assert run(folder, "--store", archive.address) == FAILED
    assert f"another {name}" in rows(tmp_path)[0]["message"]
    assert not segmentations(archive)


def test_nothing_is_stored_where_the_study_or_the_series_is_missing(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    study = pydicom.dcmread(next(series.iterdir())).StudyInstanceUID
    archive.clear()
    assert run(series, "--store", archive.address) == FAILED
    assert "has no study" in rows(tmp_path)[0]["message"]
    write_series(tmp_path / "other", noise(2), GRID, study_uid=study)
    archive.add((tmp_path / "other").iterdir())
    assert run(series, "--store", archive.address) == FAILED
    assert "lacks the series" in rows(tmp_path)[0]["message"]
    assert not segmentations(archive)


def test_a_wrong_password_is_refused_and_shown_nowhere(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path, monkeypatch: Any, capfd: Any, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MEDNEXT_DICOMWEB_PASSWORD", "a wrong password")
    assert run(archive.address, "--query", "PatientName=Müller*") == REFUSED
    said = "".join(capfd.readouterr()) + caplog.text
    assert "MEDNEXT_DICOMWEB_PASSWORD" in said
    for secret in ("a wrong password", "Müller", "M%C3%BCller", "Basic "):
        assert secret not in said


def test_logs_hold_nothing_of_the_patient(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path, capfd: Any, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    run(archive.address, "--query", "PatientID=T1", "--store", archive.address)
    said = (
        "".join(capfd.readouterr()) + caplog.text + (tmp_path / "out" / "report.csv").read_text("utf-8-sig")
    )
    for secret in (PASSWORD, "Müller", "PatientID=T1", "Authorization"):
        assert secret not in said


def test_an_image_that_cannot_be_retrieved_fails_its_case_and_leaves_nothing(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    lost = pydicom.dcmread(sorted(series.iterdir())[3]).SOPInstanceUID
    with FaultyProxy(archive.address) as proxy:
        proxy.fail("/series/", lambda answer: _without(answer, lost))
        proxy.fail(f"/instances/{lost}", lambda answer: replace(answer, status=404, body=b""))
        assert run(proxy.address, *ALL) == FAILED
    (row,) = rows(tmp_path)
    assert row["error"] == "ArchiveError" and "1 of 18 images" in row["message"]
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["report.csv"]


def _without(answer: Answer, uid: str) -> Answer:
    """An answer with one of its multipart pieces missing."""
    kind = answer.headers["Content-Type"]
    if "multipart" not in kind:
        return answer
    boundary = b"--" + kind.partition("boundary=")[2].partition(";")[0].strip('"').encode()
    parts = answer.body.split(boundary)
    kept = [part for part in parts if uid.encode() not in part]
    assert len(kept) == len(parts) - 1 or len(parts) < 4
    return replace(answer, body=boundary.join(kept))


def _cut_in_the_middle(answer: Answer) -> Answer:
    """A whole series breaks off; single images, which are small, arrive."""
    whole = "multipart" in answer.headers["Content-Type"] and len(answer.body) > 9999
    return replace(answer, cut_after=len(answer.body) // 2) if whole else answer


def test_a_connection_that_breaks_in_the_middle_costs_no_image(
    run: Any, archive: Orthanc, series: Path, tiny: Any, tmp_path: Path
) -> None:
    with FaultyProxy(archive.address) as proxy:
        proxy.fail("/series/", _cut_in_the_middle)
        assert run(proxy.address, *ALL) == DONE
    (row,) = rows(tmp_path)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / row["output"])))
    expected = segment(read_volume(series), tiny, device="cpu", threads=1)
    np.testing.assert_array_equal(labels, expected.labelmap)


def test_a_busy_archive_is_asked_again(run: Any, archive: Orthanc, series: Path) -> None:
    with FaultyProxy(archive.address) as proxy:
        proxy.fail("GET", lambda answer: replace(answer, status=503), times=2)
        assert run(proxy.address, *ALL) == DONE


def test_a_redirect_to_another_address_is_not_followed(
    run: Any, archive: Orthanc, series: Path, capsys: Any
) -> None:
    with FaultyProxy(archive.address) as proxy:
        elsewhere = {"Location": archive.address}
        proxy.fail("GET", lambda answer: replace(answer, status=302, headers=elsewhere))
        assert run(proxy.address, *ALL) == REFUSED
    assert "redirects to another address" in capsys.readouterr().err


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"[1, 2]", b'[{"0020000D": 5}]', b""])
def test_an_answer_that_is_no_dicomweb_is_refused(
    run: Any, archive: Orthanc, series: Path, capsys: Any, body: bytes
) -> None:
    with FaultyProxy(archive.address) as proxy:
        proxy.fail("GET", lambda answer: replace(answer, body=body))
        assert run(proxy.address, *ALL) == REFUSED
    assert "DICOMweb" in capsys.readouterr().err or body == b""


def test_a_series_that_still_arrives_is_refused(archive: Orthanc, tiny: Any, tmp_path: Path) -> None:
    write_series(tmp_path / "series", noise(1), GRID)
    files = sorted((tmp_path / "series").iterdir())
    archive.add(files[:-3])
    source = Archive(archive.address, Credentials(user=USER, password=PASSWORD))
    (case,) = cases_in_archive(source, tiny.model, Selection(query={"StudyDate": "20260101"}))
    archive.add(files[-3:])
    with pytest.raises(ArchiveError, match="have changed since"), retrieved(source, case, tmp_path):
        pass


def test_a_series_that_is_listed_in_part_is_refused(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    pages: list[bytes] = []

    def first_ten(answer: Answer) -> Answer:
        """As a server that gives ten results at most, and knows no offset."""
        pages.append(json.dumps(json.loads(answer.body)[:10]).encode())
        return replace(answer, body=pages[0])

    with FaultyProxy(archive.address) as proxy:
        proxy.fail("/instances?", first_ten)
        assert run(proxy.address, *ALL) == FAILED
    assert "lists 10 images" in rows(tmp_path)[0]["message"]


def test_an_archive_that_sends_images_of_another_series_is_refused(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    write_series(tmp_path / "other", noise(2), GRID)
    archive.add((tmp_path / "other").iterdir())
    other = pydicom.dcmread(next((tmp_path / "other").iterdir()))
    credentials = Credentials(user=USER, password=PASSWORD)
    bodies = {}
    with FaultyProxy(archive.address) as proxy:
        proxy.fail("multipart", lambda answer: answer)
        client = Archive(proxy.address, credentials)

        def keep(answer: Answer) -> Answer:
            if "multipart" in answer.headers["Content-Type"]:
                bodies.setdefault("other", answer)
                return bodies["other"]
            return answer

        proxy.fail("/series/", keep)
        client.call("", lambda each: list(each.iter_series(other.StudyInstanceUID, other.SeriesInstanceUID)))
        mine = pydicom.dcmread(next(series.iterdir())).StudyInstanceUID
        assert run(proxy.address, "--study", mine) == FAILED
    assert "images of another series" in rows(tmp_path)[0]["message"]


def test_localizers_other_modalities_and_unselected_series_are_not_segmented(
    run: Any, archive: Orthanc, series: Path, tmp_path: Path
) -> None:
    study = pydicom.dcmread(next(series.iterdir())).StudyInstanceUID
    for name, how in (
        ("scout", lambda dataset, _: setattr(dataset, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        ("mr", lambda dataset, _: setattr(dataset, "Modality", "MR")),
    ):
        write_series(tmp_path / name, noise(3)[:3], replace(GRID, size=(22, 20, 3)), study_uid=study)
        change(tmp_path / name, how)
        archive.add((tmp_path / name).iterdir())
    write_series(tmp_path / "later", noise(2), GRID, study_uid=study)
    archive.add((tmp_path / "later").iterdir())
    chosen = pydicom.dcmread(next(series.iterdir())).SeriesInstanceUID
    assert run(archive.address, "--series", chosen) == DONE
    (row,) = rows(tmp_path)
    assert row["case"].endswith(chosen)
    assert run(archive.address, "--study", study) == DONE
    assert len(rows(tmp_path)) == 2
    text = (tmp_path / "out" / "report.csv").read_text("utf-8-sig")
    assert "It is a localizer" in text and "Its modality is MR" in text


def test_a_study_that_is_not_there_is_refused(run: Any, archive: Orthanc, series: Path, capsys: Any) -> None:
    assert run(archive.address, "--study", "1.2.3") == REFUSED
    assert "has no study 1.2.3" in capsys.readouterr().err
    assert run(archive.address, "--series", "1.2.4") == REFUSED
    assert "has no series 1.2.4" in capsys.readouterr().err
