"""Backoff and batch sizes, decided from answers alone."""

from __future__ import annotations

from desirepath._pace import Pace, Step
from desirepath.transport import Answer, Outcome

OK = Answer(Outcome.DELIVERED)
LARGE = Answer(Outcome.TOO_LARGE)
BAD = Answer(Outcome.MALFORMED)
DOWN = Answer(Outcome.RETRY)


def test_delays_grow_with_full_jitter_and_end_with_success() -> None:
    pace = Pace(100)
    delays = []
    for _ in range(200):
        assert pace.after(DOWN, 100) is Step.WAIT
        delays.append(pace.delay_s)
    assert delays[0] <= 0.2
    assert max(delays) <= 30.0
    late = delays[20:]
    assert min(late) < 10.0 < 20.0 < max(late)
    assert pace.after(OK, 100) is Step.DONE
    pace.after(DOWN, 100)
    assert pace.delay_s <= 0.2


def test_retry_after_is_the_least_and_bounded() -> None:
    pace = Pace(100)
    pace.after(Answer(Outcome.RETRY, retry_after_s=7.0), 100)
    assert 7.0 <= pace.delay_s <= 7.2
    assert pace.asked
    pace.after(Answer(Outcome.RETRY, retry_after_s=1e9), 100)
    assert pace.delay_s <= 301


def test_the_size_that_passes_is_found_and_kept() -> None:
    """A server that takes 60 events: few requests are refused once that is known."""
    pace = Pace(1000)
    refused = delivered = 0
    for _ in range(200):
        sent = pace.limit
        if sent > 60:
            refused += 1
            assert pace.after(LARGE, sent) is Step.SMALLER
        else:
            delivered += sent
            assert pace.after(OK, sent) is Step.DONE
    assert refused < 30
    assert delivered > 170 * 30


def test_one_event_to_blame_is_buried_and_the_size_comes_back() -> None:
    for answer in (LARGE, BAD):
        pace = Pace(1000)
        while pace.after(answer, pace.limit) is Step.SMALLER:
            pass
        assert pace.limit == 1
        for _ in range(10):
            pace.after(OK, pace.limit)
        assert pace.limit == 1000
