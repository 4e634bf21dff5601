"""Other users of the computer read no voxels and no keys, and change no model, whatever the umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.downloads.http_server import make_certificates
from fixtures.models.bundles import tiny_bundle
from mednext.batch.claims import Claims, claim_file
from mednext.library.archive import pack
from mednext.remote.address import server_of
from mednext.server.keys import KeyFile
from mednext.server.listening import Place
from mednext.system.atomic import replacing
from mednext.system.child_processes import child_environment
from mednext.system.locks import locked
from mednext.viewing.page_server import opening_page
from mednext.worker.run_folder import run_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
EVERYBODY_ELSE = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    former = os.umask(0)
    yield
    os.umask(former)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_of_a_runs_voxels_is_private():
    with run_folder() as folder:
        assert mode(folder) & EVERYBODY_ELSE == 0


def test_the_file_of_keys_is_private_from_its_first_moment(tmp_path, monkeypatch):
    modes = []
    opened = os.open

    def noting(path, flags, wanted=0o777, **options):
        descriptor = opened(path, flags, wanted, **options)
        if flags & os.O_CREAT and str(path).endswith(".json"):
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", noting)
    KeyFile(tmp_path / "keys.json").add("radiology")
    assert modes == [0o600]
    assert mode(tmp_path / "keys.json") == 0o600


def test_a_key_that_others_may_read_is_used_with_a_warning(tmp_path, caplog):
    made = make_certificates(tmp_path)
    keys, copy = KeyFile(tmp_path / "keys.json"), tmp_path / "key.txt"
    copy.write_text(keys.add("radiology"))
    uses = {
        keys.path: lambda: keys.owner_of(copy.read_text()),
        copy: lambda: server_of("http://127.0.0.1:8080", copy, None),
    }
    if made is not None:
        uses[tmp_path / "server.key"] = lambda: Place(
            certificate=tmp_path / "server.pem", key=tmp_path / "server.key"
        )
    for path, use in uses.items():
        path.chmod(0o600)
        assert use()
        assert "may read" not in caplog.text
        for readable in (0o640, 0o604):
            path.chmod(readable)
            assert use()
            assert f"may read {path} (mode {readable:04o}): chmod go-r it" in caplog.text
        caplog.clear()


def test_a_private_file_stays_private(tmp_path):
    with replacing(tmp_path / "a.txt", private=True) as temporary:
        assert mode(temporary) == 0o600
    assert mode(tmp_path / "a.txt") == 0o600


def test_a_program_installs_models_that_nobody_else_can_change(tmp_path, monkeypatch):
    bundle = tiny_bundle(tmp_path / "tiny")
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "store"))
    pack(bundle.path, tmp_path / "tiny.zip")
    command = [sys.executable, "-m", "mednext", "models", "install", str(tmp_path / "tiny.zip"), "--quiet"]
    subprocess.run(command, check=True, env=child_environment(), cwd=tmp_path)
    made = [tmp_path / "store", *(tmp_path / "store").rglob("*")]
    assert len(made) > 3
    assert [path for path in made if mode(path) & stat.S_IWOTH] == []


def test_the_page_that_leads_a_browser_to_a_result_is_private_and_goes():
    with opening_page("http://127.0.0.1:1/word/") as page:
        assert mode(page.parent) & EVERYBODY_ELSE == 0
        assert "http://127.0.0.1:1/word/" in page.read_text()
    assert not page.parent.exists()


def test_no_lock_is_made_through_a_link(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_claim_that_was_replaced_by_a_link_writes_into_no_other_file(tmp_path):
    other = tmp_path / "other"
    other.write_text("untouched")
    claims = Claims(beat_s=0.01)
    with claims.claimed_if_free(tmp_path / "a.seg.nrrd") as is_ours:
        assert is_ours
        path = claim_file(tmp_path / "a.seg.nrrd", 0)
        path.unlink()
        path.symlink_to(other)
        claims._end.wait(0.1)
    claims.close()
    assert other.read_text() == "untouched"
