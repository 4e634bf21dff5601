"""Owners take turns, whatever number of jobs each of them has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mednext.server.fair_queue import FairQueue


@dataclass(eq=False)
class Job:
    owner: str
    number: int


def filled(owners):
    queue, jobs = FairQueue(), [Job(owner, number) for number, owner in enumerate(owners)]
    for job in jobs:
        queue.add(job)
    return queue, jobs


def emptied(queue):
    return [queue.next() for _ in range(len(queue))]


def test_one_job_does_not_wait_for_a_hundred_of_another():
    queue, jobs = filled("a" * 100 + "b")
    assert emptied(queue)[1] is jobs[-1]


@given(st.text("abcd", max_size=30))
def test_nobody_gets_a_second_turn_before_all_others_had_theirs(owners):
    queue, _ = filled(owners)
    served, left = Counter(), Counter(owners)
    for job in emptied(queue):
        served[job.owner] += 1
        behind = [owner for owner in left if served[owner] < min(left[owner], served[job.owner] - 1)]
        assert not behind


@given(st.text("abc", max_size=20))
def test_the_told_order_is_the_order_of_serving(owners):
    queue, _ = filled(owners)
    assert queue.order() == emptied(queue)


@given(st.text("abc", max_size=20), st.data())
def test_a_removed_job_leaves_the_order_of_the_others(owners, data):
    queue, jobs = filled(owners)
    gone = data.draw(st.sets(st.sampled_from(jobs))) if jobs else set()
    for job in gone:
        queue.remove(job)
        queue.remove(job)
    rest = emptied(queue)
    assert set(rest) == set(jobs) - gone
    for owner in set(owners):
        own = [job.number for job in rest if job.owner == owner]
        assert own == sorted(own)


def test_an_empty_queue_has_no_next_job():
    with pytest.raises(IndexError):
        FairQueue().next()
