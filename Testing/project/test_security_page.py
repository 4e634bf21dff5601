"""The page on security names tests that exist, for everybody who can send something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CITED = sorted(set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT)))
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (`test_.+) \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), CITED, ids=[name for _, name in CITED])
def test_each_test_that_the_page_names_exists(file, name):
    places = list((ROOT / "Testing").rglob(file))
    texts = [place.read_text(encoding="utf-8") for place in places]
    assert any(re.search(rf"^def {name}\(", text, re.MULTILINE) for text in texts)


def test_the_page_has_a_test_for_everybody():
    senders = " ".join(who for who, *_ in ROWS)
    words = "catalog download model checkpoint colleague patient user client server DICOMweb batch variables"
    assert [word for word in words.split() if word not in senders] == []
    assert len(CITED) > 40
