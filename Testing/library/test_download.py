"""Downloads survive failures of servers, networks and disks, and interruptions by users.

Nothing here is timed: a silent server stays silent, and a test that waits for it meets pytest's time limit.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from fixtures.downloads.fetched_file import (
    CONTENT,
    DROP,
    IMPATIENT,
    SHA256,
    SHORT,
    assert_only_the_file,
    fetch,
)
from fixtures.downloads.http_server import (
    Server,
    redirect,
    serve,
    stall_after,
    stall_before_head,
    status,
    unsized,
    wrong_range,
)
from fixtures.faults.ctrl_c import pressed_when
from mednext.errors import DiskSpaceError, DownloadError, DownloadIntegrityError, OutputError
from mednext.library.download import Patience, download
from mednext.library.download.http_stream import CHUNK_BYTES


def test_a_file_arrives_whole_and_leaves_nothing_else(server: Server, target: Path) -> None:
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)


def test_progress_ends_at_the_whole_size(server: Server, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(server.answer("/m.zip", serve(CONTENT)), target, progress=lambda *step: seen.append(step))
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_dropped_connection_is_resumed_where_it_broke(server: Server, target: Path) -> None:
    fetch(server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP), serve(CONTENT)), target)
    assert_only_the_file(target)
    assert server.requests[1].headers["Range"] == f"bytes={DROP}-"
    assert server.requests[1].headers["If-Range"] == '"v1"'


def test_a_later_call_resumes_the_part_of_an_earlier_one(server: Server, target: Path) -> None:
    url = server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP), status(404))
    with pytest.raises(DownloadError):
        fetch(url, target)
    assert not target.exists()
    assert target.with_name("model.zip.part").stat().st_size == DROP
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)
    assert server.requests[-1].headers["Range"] == f"bytes={DROP}-"


def test_a_part_of_another_file_is_not_resumed(server: Server, target: Path) -> None:
    old = b"old" * 1000
    with pytest.raises(DownloadError):
        fetch(
            server.answer("/m.zip", serve(old, hang_up_after=1500), status(404)),
            target,
            sha256="0" * 64,
            size=3000,
        )
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)
    assert server.requests[-1].headers["Range"] is None


def test_a_part_without_its_note_is_not_trusted(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("model.zip.part").write_bytes(b"x" * 100)
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)


def test_a_file_from_a_server_that_ignores_range_is_taken_from_the_beginning(
    server: Server, target: Path
) -> None:
    fetch(server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP), serve(CONTENT, ranges=False)), target)
    assert_only_the_file(target)


def test_a_file_that_changed_between_two_attempts_is_taken_from_the_beginning(
    server: Server, target: Path
) -> None:
    old = bytes(len(CONTENT))
    url = server.answer("/m.zip", serve(old, hang_up_after=DROP), serve(CONTENT, etag='"v2"'))
    fetch(url, target)
    assert_only_the_file(target)


def test_a_change_that_the_server_does_not_report_is_found_by_the_hash(server: Server, target: Path) -> None:
    old = bytes(len(CONTENT))
    fetch(server.answer("/m.zip", serve(old, hang_up_after=DROP), serve(CONTENT)), target)
    assert_only_the_file(target)
    assert [request.headers["Range"] for request in server.requests] == [None, f"bytes={DROP}-", None]


def test_a_range_that_cannot_be_satisfied_starts_again(server: Server, target: Path) -> None:
    url = server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP), status(416), serve(CONTENT))
    fetch(url, target)
    assert_only_the_file(target)


def test_another_range_than_asked_for_starts_again(server: Server, target: Path) -> None:
    url = server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP), wrong_range(CONTENT), serve(CONTENT))
    fetch(url, target)
    assert_only_the_file(target)


def test_a_download_survives_any_number_of_drops_as_long_as_new_bytes_arrive(
    server: Server, target: Path
) -> None:
    fetch(server.answer("/m.zip", serve(CONTENT, hang_up_after=CHUNK_BYTES)), target)
    assert_only_the_file(target)
    assert len(server.requests) == 8 > SHORT.attempts


def test_a_server_that_always_starts_over_and_drops_is_abandoned(server: Server, target: Path) -> None:
    url = server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP, ranges=False))
    with pytest.raises(DownloadError, match="times in a row"):
        fetch(url, target)


def test_a_stalled_connection_is_closed_and_the_download_resumed(server: Server, target: Path) -> None:
    fetch(server.answer("/m.zip", stall_after(CONTENT, DROP), serve(CONTENT)), target, patience=IMPATIENT)
    assert_only_the_file(target)
    assert server.requests[1].headers["Range"] == f"bytes={DROP}-"


def test_a_server_that_never_answers_is_an_error_not_a_hang(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="silent"):
        fetch(server.answer("/m.zip", stall_before_head()), target, patience=replace(IMPATIENT, attempts=2))


def test_a_truncated_file_of_unknown_length_is_resumed(server: Server, target: Path) -> None:
    fetch(server.answer("/m.zip", unsized(CONTENT[:DROP]), serve(CONTENT)), target)
    assert_only_the_file(target)


def test_a_truncated_file_of_unknown_size_is_found_by_the_hash(server: Server, target: Path) -> None:
    with pytest.raises(DownloadIntegrityError, match="SHA-256"):
        fetch(server.answer("/m.zip", unsized(CONTENT[:DROP])), target, size=None)
    assert list(target.parent.iterdir()) == []


def test_a_corrupted_file_is_refused_and_nothing_of_it_kept(server: Server, target: Path) -> None:
    corrupted = CONTENT[:1000] + b"\0" + CONTENT[1001:]
    with pytest.raises(DownloadIntegrityError, match="SHA-256"):
        fetch(server.answer("/m.zip", serve(corrupted)), target)
    assert list(target.parent.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(server: Server, target: Path) -> None:
    seen: list[int] = []
    url = server.answer("/m.zip", serve(b"<html>log in to the hospital's network</html>"))
    with pytest.raises(DownloadIntegrityError, match="45 bytes instead of 512000"):
        fetch(url, target, progress=lambda done, total: seen.append(done))
    assert seen == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_login_page_does_not_replace_the_part_of_a_download(
    ranges: bool, server: Server, target: Path
) -> None:
    login = server.answer("/a", serve(b"log in", ranges=ranges))
    good = server.answer("/b", serve(CONTENT))
    with pytest.raises(DownloadError):
        fetch(server.answer("/m.zip", serve(CONTENT, hang_up_after=DROP), status(404)), target)
    download([login, good], target, sha256=SHA256, size=len(CONTENT), patience=SHORT)
    assert_only_the_file(target)
    assert server.requests[-1].headers["Range"] == f"bytes={DROP}-"


def test_an_endless_answer_is_cut_off(server: Server, target: Path) -> None:
    with pytest.raises(DownloadIntegrityError, match="more than 512000 bytes"):
        fetch(server.answer("/m.zip", unsized(CONTENT * 3)), target)
    assert list(target.parent.iterdir()) == []


def test_redirects_are_followed(server: Server, target: Path) -> None:
    server.answer("/there", serve(CONTENT))
    fetch(server.answer("/here", redirect("/there")), target)
    assert_only_the_file(target)


def test_a_circle_of_redirects_is_an_error(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="circle"):
        fetch(server.answer("/here", redirect("/here")), target)


def test_a_redirect_to_a_local_file_is_refused(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="not http or https"):
        fetch(server.answer("/here", redirect("file:///etc/passwd")), target)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/m.zip", "m.zip", "http:///m.zip"])
def test_only_http_and_https_addresses_are_downloaded(url: str, target: Path) -> None:
    with pytest.raises(DownloadError):
        fetch(url, target)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


def test_a_missing_file_is_not_asked_for_again(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="HTTP 404 Not Found"):
        fetch(server.answer("/m.zip", status(404)), target)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(code: int, server: Server, target: Path) -> None:
    fetch(server.answer("/m.zip", status(code), status(code), serve(CONTENT)), target)
    assert_only_the_file(target)


def test_a_server_that_stays_in_trouble_is_abandoned(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="HTTP 500 Internal Server Error, 3 times in a row"):
        fetch(server.answer("/m.zip", status(500)), target)
    assert len(server.requests) == SHORT.attempts


def test_pauses_between_attempts_grow(server: Server, target: Path) -> None:
    patience = Patience(attempts=4, backoff_s=0.1)
    start = time.monotonic()
    with pytest.raises(DownloadError):
        fetch(server.answer("/m.zip", status(500)), target, patience=patience)
    assert time.monotonic() - start >= 0.1 + 0.2 + 0.4


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed(form: str, server: Server, target: Path) -> None:
    begin = time.time()
    moment = begin + 1 if form == "seconds" else int(begin) + 2
    later = "1" if form == "seconds" else formatdate(moment, usegmt=True)
    fetch(server.answer("/m.zip", status(429, Retry_After=later), serve(CONTENT)), target)
    assert time.time() >= moment - 0.1
    assert_only_the_file(target)


def test_the_next_mirror_is_tried_if_one_asks_for_too_long_a_pause(server: Server, target: Path) -> None:
    busy = server.answer("/busy", status(503, Retry_After="3600"))
    good = server.answer("/good", serve(CONTENT))
    download([busy, good], target, sha256=SHA256, patience=SHORT)  # else an hour
    assert [request.path for request in server.requests] == ["/busy", "/good"]
    assert_only_the_file(target)


def test_mirrors_are_tried_in_their_order_until_one_delivers(server: Server, target: Path) -> None:
    urls = [
        server.answer("/gone", status(404)),
        server.answer("/corrupt", serve(bytes(len(CONTENT)))),
        server.answer("/good", serve(CONTENT)),
        server.answer("/unneeded", serve(CONTENT)),
    ]
    download(urls, target, sha256=SHA256, size=len(CONTENT), patience=SHORT)
    assert_only_the_file(target)
    assert [request.path for request in server.requests] == ["/gone", "/corrupt", "/good"]


def test_a_mirror_resumes_the_download_of_another_one(server: Server, target: Path) -> None:
    breaking = server.answer("/breaking", serve(CONTENT, hang_up_after=DROP), status(404))
    good = server.answer("/good", serve(CONTENT, etag='"another etag"'))
    download([breaking, good], target, sha256=SHA256, patience=SHORT)
    assert_only_the_file(target)
    assert server.requests[-1].headers["Range"] == f"bytes={DROP}-"


def test_the_error_names_every_url_its_reason_and_the_folder(server: Server, target: Path) -> None:
    urls = [server.answer("/a", status(404)), server.answer("/b", status(403))]
    with pytest.raises(DownloadError) as caught:
        download(urls, target, sha256=SHA256, patience=SHORT)
    for part in (*urls, "404", "403", str(target.parent), "HTTPS_PROXY", "zip"):
        assert part in str(caught.value)


def test_a_server_that_is_not_there_is_an_error(target: Path) -> None:
    with Server() as gone:
        url = gone.address + "/m.zip"
    with pytest.raises(DownloadError, match="refused"):
        fetch(url, target)


@pytest.mark.parametrize(
    "answer", [stall_before_head(), stall_after(CONTENT, DROP), status(429, Retry_After="3000")]
)
def test_cancelling_ends_a_download_that_waits_for_an_hour(
    answer: Callable[..., None], server: Server, target: Path
) -> None:
    patience = Patience(read_s=3600, longest_wait_s=3600)
    with pressed_when(lambda: server.requests):
        fetch(server.answer("/m.zip", answer), target, patience=patience)
    assert not target.exists()


def test_a_cancelled_download_is_resumed_by_the_next(server: Server, target: Path) -> None:
    def cancel_at_drop(done: int, total: int | None) -> None:
        if done >= DROP:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.answer("/m.zip", serve(CONTENT)), target, progress=cancel_at_drop)
    kept = target.with_name("model.zip.part").stat().st_size
    assert kept >= DROP
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)
    assert server.requests[-1].headers["Range"] == f"bytes={kept}-"


def test_too_little_free_space_is_reported_before_anything_is_written(server: Server, target: Path) -> None:
    with pytest.raises(DiskSpaceError, match=r"needs 9\d+ MiB.*has \d+ MiB free"):
        fetch(server.answer("/m.zip", serve(CONTENT)), target, size=10**18)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_is_a_file_is_an_error_that_names_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("not a folder")
    with pytest.raises(OutputError, match="models"):
        fetch(server.answer("/m.zip", serve(CONTENT)), tmp_path / "models" / "model.zip")


def test_an_existing_file_is_not_downloaded_again(server: Server, target: Path) -> None:
    url = server.answer("/m.zip", serve(CONTENT))
    fetch(url, target)
    fetch(url, target)
    assert len(server.requests) == 1


def test_an_existing_damaged_file_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    fetch(server.answer("/m.zip", serve(CONTENT)), target)
    assert_only_the_file(target)


def test_processes_that_download_the_same_file_at_once_do_it_once(server: Server, target: Path) -> None:
    url = server.answer("/m.zip", serve(CONTENT))
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=fetch, args=(url, target)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(250)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert_only_the_file(target)
    assert len(server.requests) == 1
