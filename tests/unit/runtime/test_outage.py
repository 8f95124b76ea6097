from poddispatchd.clock import Clock
from poddispatchd.runtime.outage import Outage


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
