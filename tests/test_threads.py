"""Cases through threads: in order, few at a time, and what breaks one is raised at its turn."""

import threading
import time

import pytest

from abdoseg.threads import AHEAD, in_threads


def test_results_come_in_the_order_of_the_cases_whichever_is_done_first():
    def work(number):
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(in_threads(work, range(100), 3)) == [number * number for number in range(100)]
    assert list(in_threads(work, [], 3)) == []


def test_few_cases_are_on_their_way_however_many_there_are():
    taken, running, most = [], [0], [0]
    lock = threading.Lock()

    def cases():
        for number in range(1000):
            taken.append(number)
            yield number

    def work(number):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.0005)
        with lock:
            running[0] -= 1
        return number

    for done, number in enumerate(in_threads(work, cases(), 2), 1):
        assert number == done - 1
        assert len(taken) <= done + 2 * AHEAD
    assert done == 1000
    assert most[0] == 2


def test_an_error_is_raised_at_its_turn_and_the_cases_behind_it_are_dropped():
    worked = []

    def work(number):
        worked.append(number)
        time.sleep(0.002)
        if number == 5:
            raise ValueError("five")
        return number

    found = in_threads(work, range(1000), 2)
    assert [next(found) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="five"):
        next(found)
    assert len(worked) < 6 + 2 * AHEAD + 2
