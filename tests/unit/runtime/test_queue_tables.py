"""What is said of the queues of the journal."""

from poddispatchd.runtime.lease_queue import LateItems
from poddispatchd.runtime.queue_tables import late_words


def test_each_kind_of_deliveries_that_wait_for_long_is_named_as_one_and_as_several() -> None:
    late = [
        LateItems("event", 1, 3600.0, "The endpoint of events does not answer."),
        LateItems("hook", 2, 3600.0, "It was killed."),
        LateItems("push", 2, 3600.0, "410"),
    ]

    assert [words.partition(",")[0] for words in late_words(late)] == [
        "1 outgoing event waits to be delivered",
        "2 runs of imports.after wait to be repeated",
    ]
