from poddispatchd.clock import Clock
from poddispatchd.runtime.outage import Outage


class _Counted(Clock):
    """Nobody waits, and each wait is the longest."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def random(self) -> float:
        return 1.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))


async def test_tries_come_more_rarely_up_to_ten_seconds_and_soon_again_in_the_next_outage() -> None:
    clock = _Counted()
    outage = Outage(clock)
    for _ in range(7):
        await outage.wait()
    outage.end()
    await outage.wait()

    assert clock.slept == [0.7, 1.2, 2.2, 4.2, 8.2, 10.2, 10.2, 0.7]


def test_each_reason_of_an_outage_is_news_once_and_again_in_the_next_one() -> None:
    outage = Outage(Clock())
    closed, refused = Exception("closed"), Exception("refused")

    assert [outage.is_news(error) for error in (closed, refused, closed, refused)] == [
        True,
        True,
        False,
        False,
    ]
    outage.end()
    assert outage.is_news(refused)


def test_words_that_are_never_twice_the_same_do_not_fill_the_log() -> None:
    outage = Outage(Clock())

    assert sum(outage.is_news(Exception(f"try {number}")) for number in range(1000)) == 8
