"""The cases that once failed, as changes of the seeds: `test_fuzzing.py` reads them all again.

A new finding joins them when its cause is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Change = Callable[[bytes], bytes]

FORMER = "former"  # the seed of the executions that read these cases


def _appended(rest: str) -> Change:
    return lambda sound: sound + bytes.fromhex(rest)


def _replaced(old: bytes, new: bytes) -> Change:
    return lambda sound: sound.replace(old, new, 1)


# Name of the target: the end of a seed's name, and the change of that seed.
CASES: dict[str, tuple[tuple[str, Change], ...]] = {
    "DICOM": (
        # GDCM took gigabytes for bytes after the pixels.
        ("", _appended("5f82c2d9cfeb0fa321d7d98244a1be0c93b7")),
        ("", _appended("c3572970fd6b47ed43b75dff00112233445566778899aabb")),
        ("", _appended("be938a3ce09b4fc61f6c66af" + "ff" * 40)),
    ),
    "line of the worker's pipe": (
        # A name of a file that is longer than any.
        ("2.request", _replaced(b'"certificate": ""', b'"certificate": "' + b"a" * 3000 + b'"')),
    ),
    "request in a folder": (
        # numpy's reader of headers raised errors of Python's tokenizer, and of its integers.
        ("request_0.npy", _replaced(b"(4, 5, 6)", b"(4, 5, 6(")),
        ("request.json", _replaced(b"1.5", b"9" * 400)),  # of the spacing
        ("request_0.npy", _replaced(b"(4, 5, 6), }  ", b"(4, 5, 2**99)}")),
        ("request_0.npy", _replaced(b"(4, 5, 6), }" + b" " * 20, b"(4, 5, 99999999999999999999), }")),
    ),
    "request to mednext serve": (
        # A refusal that quotes half a character, which has no encoding.
        ("apply.request", _replaced(b'"insist": false', b'"insist": "\\ud800"')),
        # A query that is not UTF-8, which a redirection would have repeated.
        ("state.request", lambda _sound: b"GET /v1/jobs/?\xa4\n\n"),
    ),
    "answer of a DICOMweb archive": (
        # A name that is no text.
        ("studies.dicomweb", _replaced(b'{"Alphabetic": "Doe^Jane"}', b'{"Alphabetic": {}}')),
    ),
    "result to view": (
        # Label values and layers beyond all numbers.
        ("a.seg.nrrd", _replaced(b"LabelValue:=2", b"LabelValue:=2147483647")),
        ("a.seg.nrrd", _replaced(b"LabelValue:=1", b"LabelValue:=" + b"9" * 5000)),
        ("a.seg.nrrd", _replaced(b"Layer:=0", b"Layer:=" + b"9" * 5000)),
    ),
    "small file of ours": (
        ("dataset.json", lambda _sound: b"[]"),
        # Values in a list that cannot be sorted together.
        ("dataset.json", lambda _sound: b'{"channel_names": {"0": [1, "T1"]}, "labels": {}}'),
        # A claim of a process whose number is beyond the system's.
        ("claim-0.lock", _replaced(b"-0123456789ab", b"9999999999-0123456789ab")),
    ),
}


def former_case(name: str, paths: Sequence[Path], number: int) -> tuple[Path, bytes, bytes]:
    """The seed, its sound content, and the damaged one of a target's case with this number."""
    end, change = CASES[name][number]
    path = next(path for path in paths if path.name.endswith(end))
    sound = path.read_bytes()
    return path, sound, change(sound)
