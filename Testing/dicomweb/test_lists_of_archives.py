"""Archives that give lists in pages, in part, again or without an end: all results, or a refusal."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pydicom
import pytest
from fixtures.downloads.http_server import Handler, Server
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import tiny_model
from mednext.batch.case import Case
from mednext.dicomweb import archive as archive_module
from mednext.dicomweb.archive import Archive, Credentials
from mednext.dicomweb.retrieval import retrieved
from mednext.dicomweb.search import PREFIX, Selection, cases_in_archive, content_of
from mednext.errors import ArchiveError
from mednext.images.geometry import Geometry
from mednext.library.download import guarded_session

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")

STUDIES, SERIES, PAGE = 7, 5, 4
QUERY = Selection(query={"StudyDate": "20260101"})
Cut = Callable[[list[Any], int, int], list[Any]]


def in_pages(items: list[Any], limit: int, offset: int) -> list[Any]:
    return items[offset : offset + limit]


def in_smaller_pages(items: list[Any], limit: int, offset: int) -> list[Any]:
    return items[offset : offset + min(limit, 3)]


def without_offset(items: list[Any], limit: int, _offset: int) -> list[Any]:
    return items[:limit]


def whole_without_pages(items: list[Any], _limit: int, _offset: int) -> list[Any]:
    return items


def in_another_order(items: list[Any], limit: int, offset: int) -> list[Any]:
    return (items if offset == 0 else items[::-1])[offset : offset + limit]


def cut(items: list[Any], limit: int, offset: int) -> list[Any]:
    return items[:3][offset : offset + limit]


def item(**tags: str) -> dict[str, Any]:
    return {tag: {"vr": "LO", "Value": [value]} for tag, value in tags.items()}


class Lists(Handler):
    """Answers searches for studies and for their series, of which none has a modality that a model takes."""

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        place = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        series = re.search(r"/studies/([0-9.]+)/series", place.path)
        wanted = query.get("StudyInstanceUID") or query.get("0020000D")
        if series:
            kind, items = "series", [{"0020000E": f"{series[1]}.{n}"} for n in range(SERIES)]
        else:
            kind, items = "studies", [{"0020000D": f"1.2.{n}", **self.server.count} for n in range(STUDIES)]
            items = [each for each in items if wanted in (None, each["0020000D"])]
        page = self.server.cuts[kind](items, int(query["limit"]), int(query["offset"]))
        body = json.dumps([item(**each) for each in page]).encode()
        self.head(200, len(body), **{"Content-Type": "application/dicom+json"}, **self.server.warning)
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(archive_module, "_PAGE", PAGE)
    with Server(handler=Lists) as running:
        running.cuts = {"studies": in_pages, "series": in_pages}
        running.count, running.warning = {"00201206": str(SERIES)}, {}
        yield running


def found(server: Server, selection: Selection = QUERY) -> list[Any]:
    archive = Archive(server.address, Credentials())
    return cases_in_archive(archive, tiny_model(), selection)


@pytest.mark.parametrize("way", [in_pages, in_smaller_pages])
def test_all_pages_are_asked_for(server: Server, way: Cut) -> None:
    server.cuts = {"studies": way, "series": way}
    assert len({case.name for case in found(server)}) == STUDIES * SERIES


@pytest.mark.parametrize("way", [without_offset, whole_without_pages, in_another_order])
def test_studies_are_refused_where_the_pages_repeat(server: Server, way: Cut) -> None:
    server.cuts["studies"] = way
    with pytest.raises(ArchiveError, match=r"lists \d studies, .*may have more: .*--study"):
        found(server)
    assert len(found(server, Selection(("1.2.6",)))) == SERIES


@pytest.mark.parametrize("fresh", [1, PAGE])
def test_a_list_without_an_end_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, fresh: int
) -> None:
    def endless(_items: list[Any], limit: int, offset: int) -> list[Any]:
        return [{"0020000D": f"1.2.{offset + min(n, fresh - 1)}"} for n in range(limit)]

    monkeypatch.setattr(archive_module, "_MOST_RESULTS", 10 * PAGE)
    server.cuts["studies"] = endless
    with pytest.raises(ArchiveError, match=r"does not come to an end .* listed 44 results: .*--study"):
        found(server)


def test_a_page_without_an_end_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_session, "MOST_JSON", 100)
    with pytest.raises(ArchiveError, match=r"Searching studies failed at .* too long"):
        found(server)


class EndlessSeries(Handler):
    """Lists one image, and sends it again and again."""

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        if self.path.partition("?")[0].endswith("/instances"):
            listed = [] if "offset=0" not in self.path else [item(**{"00080018": self.server.instance})]
            body = json.dumps(listed).encode()
            self.head(200, len(body), **{"Content-Type": "application/dicom+json"})
            self.wfile.write(body)
            return
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        self.head(200, None, **{"Content-Type": kind})
        with contextlib.suppress(OSError):
            while not self.server.stopped.is_set():
                self.wfile.write(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + self.server.image)


def test_a_series_without_an_end_is_read_as_far_as_it_is_listed(tmp_path: Path) -> None:
    write_series(tmp_path / "series", np.zeros((1, 8, 8), np.int16), Geometry((8, 8, 1), (1.0, 1.0, 1.0)))
    (file,) = (tmp_path / "series").iterdir()
    header = pydicom.dcmread(file)
    study, series, instance = header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID
    case = Case("case", (f"{PREFIX}{study}/{series}",), (), "case", content=content_of([[instance]]))
    with Server(handler=EndlessSeries) as server:
        server.instance, server.image = instance, file.read_bytes()
        with retrieved(Archive(server.address, Credentials()), case, tmp_path) as local:
            assert [pydicom.dcmread(each).SOPInstanceUID for each in local.files] == [instance]


def test_studies_are_refused_where_the_archive_announces_more_than_it_gives(server: Server) -> None:
    server.cuts["studies"] = cut
    server.warning = {"Warning": '299 pacs "There are 4 additional results that can be requested"'}
    with pytest.raises(ArchiveError, match="lists 3 studies"):
        found(server)


@pytest.mark.parametrize("way", [without_offset, cut])
def test_series_are_refused_where_the_archive_counts_more_than_it_lists(server: Server, way: Cut) -> None:
    server.cuts["series"] = way
    cases = found(server)
    assert len(cases) == STUDIES
    assert all(re.search(r"lists [34] series of the study .* counts 5", str(case.problem)) for case in cases)


def test_series_without_pages_are_taken_where_the_archive_counts_as_many(server: Server) -> None:
    server.cuts["series"] = whole_without_pages
    assert len(found(server)) == STUDIES * SERIES
    server.count = {}
    assert all("may have more" in str(case.problem) for case in found(server))


def test_a_series_that_is_named_needs_no_whole_list(server: Server) -> None:
    server.cuts["series"] = without_offset
    selection = Selection(("1.2.3",), ("1.2.3.2",))
    assert [case.source for case in found(server, selection)] == ["1.2.3/1.2.3.2#1.2.3.2"]


def test_a_study_and_a_series_without_a_uid_are_reported_and_the_others_taken(server: Server) -> None:
    server.cuts["studies"] = lambda items, *page: in_pages([{"0020000D": "odd uid"}, *items], *page)
    server.cuts["series"] = lambda items, *page: in_pages([*items, {"0020000E": ""}], *page)
    server.count = {}
    problems = [case.name for case in found(server) if "UID is missing or wrong" in str(case.problem)]
    assert problems == ["study without UID", *(f"1.2.{n}/series without UID" for n in range(STUDIES))]
    assert len(found(server)) == 1 + STUDIES * (SERIES + 1)
