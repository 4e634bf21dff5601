"""Readers read mutated files or refuse them with a sentence, and the harness notices everything else."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fuzzing import Finding, Outcome, all_targets, fuzz
from fuzzing.counting import Counts
from fuzzing.former_findings import CASES, FORMER
from fuzzing.mutation import mutated
from fuzzing.targets import targets_of

EXECUTIONS = 60  # the same in every run; `make fuzz` tries others
PATIENCE_S = 250  # of the executions of one target, on a busy machine
TARGETS = all_targets()


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_refuses_mutated_files_with_a_sentence_or_reads_them(tmp_path, name):
    outcome = fuzz(TARGETS[name], tmp_path, EXECUTIONS, seconds=PATIENCE_S)
    assert [f"{finding.number}: {finding.end}" for finding in outcome.findings] == []
    assert sum(outcome.ends.values()) == outcome.executions == EXECUTIONS
    assert set(outcome.ends) - {"read"}  # the mutations are not all harmless


@pytest.mark.parametrize("name", CASES)
def test_the_cases_that_once_failed_are_refused_with_a_sentence_or_read(tmp_path, name):
    outcome = fuzz(TARGETS[name], tmp_path, len(CASES[name]), FORMER)
    assert [f"{finding.number}: {finding.end}" for finding in outcome.findings] == []
    assert outcome.executions == len(CASES[name])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux limits the memory")
def test_crashes_hangs_lack_of_memory_and_foreign_exceptions_are_found_and_the_next_ones_run(tmp_path):
    (target,) = targets_of("fuzzing.faulty_example")
    outcome = fuzz(target, tmp_path, 20)
    assert outcome.executions == 20
    ends = {finding.file.read_bytes(): finding.end for finding in outcome.findings}
    assert sorted(ends) == [b"c", b"e", b"h", b"m"]
    assert ends[b"c"] == "signal 11 (SIGSEGV)"
    assert ends[b"h"] == "more than 1 s"
    assert ends[b"e"].startswith("KeyError: 'no such field' (faulty_example.py:")
    assert ends[b"m"].startswith("MemoryError")
    assert set(outcome.ends) == {"read", "UnreadableImageError"}


def test_an_execution_can_be_repeated(tmp_path):
    (target,) = targets_of("fuzzing.faulty_example")
    found = {finding.number: finding.end for finding in fuzz(target, tmp_path, 10).findings}
    number, end = next((number, end) for number, end in found.items() if end.startswith("KeyError"))
    (again,) = fuzz(target, tmp_path, 1, first=number).findings
    assert (again.number, again.end) == (number, end)


def test_json_gets_values_of_other_types_also_below_headers():
    document = {"a": [1, {"b": None}], "c": "x"}
    content = b"HTTP 200\n\n" + json.dumps(document).encode()
    kinds: Counter[type] = Counter()
    for number in range(200):
        _, _, body = mutated(content, random.Random(number)).partition(b"\n\n")
        with suppress(ValueError):
            changed = json.loads(body)
            kinds[type(changed.get("a") if isinstance(changed, dict) else changed)] += 1
    assert {list, dict, str, int, type(None)} <= set(kinds)


def test_executions_are_counted_over_the_calls_and_the_next_call_goes_on(tmp_path):
    file = tmp_path / "counts.jsonl"
    found = Finding(3, "KeyError: 'a' (b.py:1)", tmp_path)
    Counts(file).add("NIfTI", "0", Outcome(10, Counter(read=4, GeometryError=5), [found]))
    Counts(file).add("NIfTI", "1", Outcome(5, Counter(read=5)))
    counts = Counts(file)
    assert [counts.done("NIfTI", "0"), counts.done("NIfTI", "1"), counts.done("NRRD", "0")] == [10, 5, 0]
    _, _, *rows = counts.table(["NRRD", "NIfTI"]).splitlines()
    assert rows == ["| NRRD | 0 | 0 | 0 | 0 |", "| NIfTI | 15 | 9 | 5 | 1 |", "| all | 15 | 9 | 5 | 1 |"]


def test_a_target_that_cannot_read_its_own_seeds_is_reported(tmp_path):
    (target,) = targets_of("fuzzing.faulty_example")
    target = replace(target, name="in no module")
    with pytest.raises(RuntimeError, match="cannot read its own seeds: the process ended with code 1"):
        fuzz(target, tmp_path, 5)
