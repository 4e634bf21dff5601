"""Downloads from a server that misbehaves at random: the verified file or none, and the next one arrives."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.downloads.fetched_file import CONTENT, SHA256, SHORT
from fixtures.downloads.http_server import Server, make_certificates, serve
from fixtures.downloads.misbehaving_answers import MISBEHAVIOURS
from fixtures.faults.fault_table import Tally, injections
from fixtures.servers.mednext_server import Line, random_cuts
from mednext.errors import DiskSpaceError, DownloadError, DownloadIntegrityError
from mednext.library.download import download

QUICK = replace(SHORT, read_s=0.4, attempts=4, longest_wait_s=0.1)
MOST = 6  # answers that misbehave before one that does not
LEFT = {"m.zip.part", "m.zip.part.json"}

pytestmark = pytest.mark.timeout(1800)


def outcome_of(urls: list[str], target: Path, size: int | None) -> str:
    """Download, and return how that ended; whatever lies there afterwards is the file or no file."""
    try:
        download(urls, target, sha256=SHA256, size=size, patience=QUICK)
    except (DownloadError, DownloadIntegrityError, DiskSpaceError) as error:
        assert str(error).isprintable() and len(str(error)) < 2000
        outcome = "explained error, no file"
    else:
        outcome = "verified file"
    assert target.exists() == (outcome == "verified file")
    assert not target.exists() or target.read_bytes() == CONTENT
    names = {path.name for path in target.parent.iterdir()}
    assert names <= ({target.name} if target.exists() else LEFT)
    return outcome


@pytest.mark.parametrize("kind", MISBEHAVIOURS)
def test_a_server_that_misbehaves_in_one_way(kind: str, server: Server, tmp_path: Path) -> None:
    dice, tally = random.Random(kind), Tally("a download", f"server: {kind}")
    for number in range(injections(4, 1)):
        target = tmp_path / str(number) / "m.zip"
        good = server.answer("/good.zip", serve(CONTENT))
        answers = [MISBEHAVIOURS[kind](CONTENT, dice, good) for _ in range(1 + number % 3)]
        url = server.answer("/m.zip", *answers)
        tally.add(outcome_of([url], target, dice.choice([len(CONTENT), None])))
        assert outcome_of([good], target, len(CONTENT)) == "verified file"
    tally.keep()


def test_servers_that_misbehave_in_many_ways(server: Server, tmp_path: Path) -> None:
    dice, tally = random.Random(1), Tally("a download", "servers: several ways, one after the other")
    for number in range(injections(150, 4)):
        target = tmp_path / str(number) / "m.zip"
        good = server.answer("/good.zip", serve(CONTENT))
        urls = []
        for mirror in range(dice.randrange(1, 3)):
            kinds = dice.choices(list(MISBEHAVIOURS.values()), k=dice.randrange(1, MOST))
            answers = [kind(CONTENT, dice, good) for kind in kinds]
            if dice.random() < 0.5:
                answers.append(serve(CONTENT))
            urls.append(server.answer(f"/{mirror}/m.zip", *answers))
        tally.add(outcome_of(urls, target, dice.choice([len(CONTENT), None])))
        assert outcome_of([good], target, len(CONTENT)) == "verified file"
    tally.keep()


def test_tls_that_breaks_at_random_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = make_certificates(tmp_path)
    if certificates is None:
        pytest.skip("no openssl command to make certificates with")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates[0]))
    tally = Tally("a download", "TLS cut at random bytes")
    with Server(tls=certificates[1]) as server:
        server.answer("/m.zip", serve(CONTENT))
        for number in range(injections(40, 2)):
            target = tmp_path / str(number) / "m.zip"
            with Line(server.address, random_cuts(number, 0.9, 2 * len(CONTENT))) as line:
                tally.add(outcome_of([f"{line.address}/m.zip"], target, len(CONTENT)))
            assert outcome_of([f"{server.address}/m.zip"], target, len(CONTENT)) == "verified file"
    tally.keep()
