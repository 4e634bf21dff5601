"""Foreign text is shown completely on a terminal, in a table and in a panel, and never obeyed."""

from __future__ import annotations

import csv
import io
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mednext.system.shown_text import csv_cell, from_csv_cell, rich_text, shown, shown_lines, tool_tip

ANY = st.text(st.characters(exclude_categories=[]))  # half surrogate pairs, too


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("scan\u202egnp.exe", r"scan\u202egnp.exe"),
        ("a\u200bb\ufeffc\u2066d", r"a\u200bb\ufeffc\u2066d"),
        ("\U000e0041", r"\U000e0041"),
        (os.fsdecode(b"R\xf6ntgen"), r"R\xf6ntgen"),
        ("\ud83d", r"\ud83d"),
        ("a\r\nmednext: done\tb", "a  mednext: done b"),
        ("\u3164", r"\u3164"),
    ],
)
def test_invisible_characters_are_escaped(text, seen):
    assert shown(text) == seen


@pytest.mark.parametrize("name", ["Kopf ü (1)", "头 脳", "ראש", "رأس", "सिर", "🧠", "e\u0301", "a\\x1b"])
def test_letters_of_all_languages_stay(name):
    assert shown(name) == rich_text(name) == from_csv_cell(csv_cell(name)) == name


@given(ANY)
def test_any_text_becomes_one_visible_line_that_every_file_takes(text):
    line = shown(text)
    assert {unicodedata.category(char) for char in line}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert line.encode().decode() == shown(line) == line


@given(ANY)
def test_a_cell_is_not_a_formula_and_is_read_back_unchanged(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([csv_cell(text), "end"])
    file.seek(0)
    ((cell, end),) = csv.reader(file)
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))
    assert (from_csv_cell(cell), end) == (shown(text), "end")


def test_the_lines_of_a_longer_text_are_kept():
    assert shown_lines("a\x1b\nb") == "a\\x1b\nb"


def test_html_is_shown_and_not_rendered():
    name = '<img src="file:///etc/passwd">&amp;\n<b>'
    assert rich_text(name) == "&lt;img src=&quot;file:///etc/passwd&quot;&gt;&amp;amp;<br>&lt;b&gt;"
    assert tool_tip(name) == f"<qt>{rich_text(name)}</qt>"
