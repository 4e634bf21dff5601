"""Names that are safe on every file system."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mednext.errors import UnsafePathError
from mednext.system.file_names import as_compared, check_relative, safe_part, told_apart


@given(st.text(max_size=300))
@example("con .nii")
@example("CONIN$")
@example("com\u00b9.txt")
@example("a" * 179 + ". b")
@example("con" + " " * 180 + "x")
@example("con." + "a" * 180)
@example("...")
@example("a\x7fb")
def test_a_safe_name_is_one_part_of_a_path_everywhere(name: str) -> None:
    part = safe_part(name)
    check_relative(part)
    assert "/" not in part and not part.startswith(".")
    assert len(part.encode()) <= 180
    assert safe_part(part) == part


@pytest.mark.parametrize(
    "name", ["a/con.txt", "nul", "a:b", "a\x7fb", "a\\b", "../a", "/a", "c:a", "a.", "a ", ""]
)
def test_a_name_that_some_platform_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(UnsafePathError):
        check_relative(name)


@given(st.lists(st.sampled_from(["a", "A", "a_2", "b", "\u00e9", "e\u0301", "\u00c9"]), max_size=8))
def test_no_two_results_have_the_same_name(names: list[str]) -> None:
    told = told_apart(names, names)
    assert len({as_compared(name) for name in told}) == len(names)


@given(st.text(max_size=40))
def test_case_and_form_of_a_letter_do_not_make_another_name(name: str) -> None:
    assert as_compared(unicodedata.normalize("NFD", name)) == as_compared(unicodedata.normalize("NFC", name))
    assert as_compared(as_compared(name)) == as_compared(name)
