"""Claims keep the machines apart that share a folder: one takes a case, and another if it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from mednext.batch import claims
from mednext.batch.claims import Claims, claim_file, remove_left_claims
from mednext.system.running_processes import signature

PATIENCE_S = 30
ELSEWHERE = "00000000-1-abcdefabcdef 00000003\n"  # by a process of another machine


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "liver.seg.nrrd"


@pytest.fixture
def one() -> Iterator[Claims]:
    made = Claims(beat_s=0.02, stale_s=0.5)
    yield made
    made.close()


def test_of_many_machines_one_gets_the_claim(target: Path) -> None:
    start, taken = threading.Barrier(8), []

    def take() -> None:
        with ExitStack() as held:
            start.wait()
            taken.append(held.enter_context(Claims().claimed_if_free(target)))
            start.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]
    assert not list(target.parent.iterdir())


def test_a_claim_is_free_again_after_its_block(target: Path, one: Claims) -> None:
    for _ in range(2):
        with one.claimed_if_free(target) as mine:
            assert mine and claim_file(target, 0).exists()
    assert not list(target.parent.iterdir())


def test_a_claim_whose_owner_lives_is_never_taken_over(
    target: Path, one: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its signs of life take to arrive."""
    clock, other = [0.0], Claims(stale_s=90.0)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with one.claimed_if_free(target):
        for _ in range(5):
            with other.claimed_if_free(target) as mine:
                assert not mine
            seen = claim_file(target, 0).read_bytes()
            while claim_file(target, 0).read_bytes() == seen:
                time.sleep(0.005)
            clock[0] += 100.0


def test_a_claim_of_another_machine_is_taken_over_once_it_stands_still(target: Path, one: Claims) -> None:
    claim_file(target, 0).write_text(ELSEWHERE)
    with one.claimed_if_free(target) as mine:
        assert not mine  # its owner may be alive
    time.sleep(0.6)
    with one.claimed_if_free(target) as mine:
        assert mine and claim_file(target, 1).exists()
    assert not list(target.parent.iterdir())


def test_a_claim_of_a_process_of_this_machine_that_has_ended_is_taken_over_at_once(
    target: Path, one: Claims
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    here = signature().partition("-")[0]
    claim_file(target, 0).write_text(f"{here}-{int(child.stdout)}-abcdefabcdef 00000000\n")
    with one.claimed_if_free(target) as mine:
        assert mine


def test_of_many_machines_one_takes_over_a_dead_claim(target: Path) -> None:
    claim_file(target, 0).write_text(ELSEWHERE)
    machines = [Claims(stale_s=0.3) for _ in range(8)]
    for machine in machines:
        with machine.claimed_if_free(target) as mine:
            assert not mine
    time.sleep(0.4)
    start, taken = threading.Barrier(8), []

    def take(machine: Claims) -> None:
        with ExitStack() as held:
            start.wait()
            taken.append(held.enter_context(machine.claimed_if_free(target)))
            start.wait()

    threads = [threading.Thread(target=take, args=[machine]) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]


def test_an_owner_that_was_believed_dead_leaves_the_claim_to_its_successor(target: Path) -> None:
    asleep, successor, third = Claims(beat_s=60), Claims(stale_s=0.1), Claims(stale_s=60)
    with ExitStack() as held:
        with asleep.claimed_if_free(target):
            with successor.claimed_if_free(target) as mine:
                assert not mine
            time.sleep(0.2)
            assert held.enter_context(successor.claimed_if_free(target))
        with third.claimed_if_free(target) as mine:
            assert not mine
    assert not list(target.parent.iterdir())


def test_a_claim_without_content_is_taken_over_after_a_beat(target: Path) -> None:
    """An owner that was killed between making the file and writing it left it empty."""
    claim_file(target, 0).touch()
    claims = Claims(beat_s=0.05)
    with claims.claimed_if_free(target) as mine:
        assert not mine  # its owner may be writing it
    time.sleep(0.1)
    with claims.claimed_if_free(target) as mine:
        assert mine
    claims.close()
    assert not list(target.parent.iterdir())


def test_left_claims_of_this_machine_and_old_ones_are_removed_and_others_stay(tmp_path: Path) -> None:
    here = signature().partition("-")[0]
    dead, alive, foreign, old = (claim_file(tmp_path / f"{name}.seg.nrrd", 0) for name in "abcd")
    dead.write_text(f"{here}-999999999-abcdefabcdef 00000000\n")
    alive.write_text(f"{signature()}-abcdefabcdef 00000000\n")
    foreign.write_text(ELSEWHERE)
    old.touch()
    os.utime(old, (time.time() - 90000,) * 2)
    remove_left_claims(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, foreign])
