"""How much of one runner manager is recorded."""

from poddispatchd.callbacks.rate_limits import BYTES, CALLBACKS, UNKNOWN, Bucket, Quota, Rate
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId


def _callback(size: int) -> Callback:
    return Callback(RunnerTaskId("t-1"), RunnerStatus.COMPLETED, script_output="x" * size)


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = Bucket(Rate(10, 2))
    for _ in range(10):
        assert bucket.wait(1, 0.0) == 0
        bucket.take(1)
    assert bucket.wait(1, 0.0) == 0.5
    assert bucket.wait(3, 1.0) == 0.5
    assert bucket.wait(3, 1.5) == 0
    assert bucket.wait(10, 1000.0) == 0
    assert bucket.wait(11, 1000.0) == 0  # more than there is room for waits for a full bucket, not for ever


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(Rate(1, 1))
    bucket.take(1)
    assert bucket.wait(1, 100.0) == 1
    assert bucket.wait(1, 50.0) == 1


def test_a_thousand_tasks_that_end_at_once_are_recorded() -> None:
    quota, callback = Quota(), _callback(100_000)
    assert [quota.record("m", callback, 0.0) for _ in range(1000)] == [0.0] * 1000


def test_one_token_does_not_fill_the_database_and_disturbs_no_other() -> None:
    quota, stored, large = Quota(), 0, _callback(2**20)
    for number in range(500):
        now = number / 25  # twenty seconds
        if quota.record("hostile", large, now) == 0:
            stored += 2**20
    assert stored <= BYTES.burst + 21 * BYTES.each_second
    assert quota.record("hostile", _callback(2**20), 20.0) > 0
    assert quota.record("honest", _callback(2**20), 20.0) == 0


def test_small_callbacks_are_limited_in_number() -> None:
    quota, small = Quota(), _callback(0)
    taken = sum(quota.record("m", small, number / 1000) == 0 for number in range(60_000))
    assert taken <= CALLBACKS.burst + 61 * CALLBACKS.each_second


def test_searches_for_unknown_ids_are_few_and_those_that_find_something_are_free() -> None:
    quota = Quota()
    for _ in range(int(10 * UNKNOWN.burst)):
        assert quota.search("m", 0.0) == 0
        quota.found("m")
    searches = sum(quota.search("m", 0.0) == 0 for _ in range(1000))
    assert searches == UNKNOWN.burst
    assert quota.search("m", 0.5) == 0.5


def test_a_search_that_finds_something_gives_back_itself_and_no_more() -> None:
    quota = Quota()
    for _ in range(2):
        assert quota.search("m", 0.0) == 0
    quota.found("m")
    assert sum(quota.search("m", 0.0) == 0 for _ in range(1000)) == UNKNOWN.burst - 1
