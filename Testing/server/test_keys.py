"""Keys are random, stored as hashes, and changed while the server runs."""

from __future__ import annotations

import json
import os

import pytest
from mednext.errors import OptionError
from mednext.server.keys import KeyFile


@pytest.fixture
def keys(tmp_path):
    return KeyFile(tmp_path / "of the server" / "keys.json")


def test_a_key_opens_for_its_owner_alone(keys):
    jane, carl = keys.add("jane"), keys.add("carl")
    assert jane != carl
    assert [keys.owner_of(key).name for key in (jane, carl)] == ["jane", "carl"]
    for wrong in ("", "jane", jane[:-1], jane + "x", jane.upper(), "\ud800"):
        assert keys.owner_of(wrong) is None


def test_a_revoked_key_opens_no_more_and_its_name_is_free_again(keys):
    former = keys.add("jane")
    owner = keys.owner_of(former)
    keys.revoke("jane")
    assert keys.owner_of(former) is None
    assert keys.owner_of(keys.add("jane")) != owner


def test_another_process_sees_a_change_at_once(keys):
    server = KeyFile(keys.path)
    key = keys.add("jane")
    assert server.owner_of(key)
    keys.revoke("jane")
    assert server.owner_of(key) is None


@pytest.mark.parametrize("name", ["", "a\nb", "../x", "x" * 65, "ä", '"', " x"])
def test_a_name_that_would_disturb_a_log_is_refused(keys, name):
    with pytest.raises(OptionError):
        keys.add(name)


def test_a_name_is_given_once(keys):
    keys.add("jane")
    with pytest.raises(OptionError, match="already"):
        keys.add("jane")
    with pytest.raises(OptionError, match="only: jane"):
        keys.revoke("john")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": [{"name": "x"}]}', '{"keys": [], "more": 1}'])
def test_a_file_that_is_no_key_file_lets_nobody_in(keys, text):
    key = keys.add("jane")
    keys.path.write_text(text)
    assert keys.owner_of(key) is None
    with pytest.raises(OptionError):
        keys.listed()


def test_the_file_holds_hashes_only_and_is_private(keys):
    key = keys.add("jane")
    (entry,) = json.loads(keys.path.read_text())["keys"]
    assert set(entry) == {"name", "sha256", "created"}
    assert key not in keys.path.read_text()
    assert os.name == "nt" or keys.path.stat().st_mode & 0o777 == 0o600
