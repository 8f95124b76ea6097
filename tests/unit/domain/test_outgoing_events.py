"""What is sent to other programs: the words, the signature, and when managers are told of."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from poddispatchd.domain.manager_watch import News, WatchedManager
from poddispatchd.domain.outgoing_events import (
    OutgoingEvent,
    TaskFailure,
    Wording,
    manager_down,
    task_failed,
)
from poddispatchd.domain.signature import signature_headers, signing_key
from poddispatchd.domain.task import TaskPk, TaskType, VideoId

_AT = datetime(2026, 3, 1, 2, 3, 4, tzinfo=UTC)
_ENGLISH, _FRENCH = Wording("en", "Pod"), Wording("fr", "Pod")
_FAILED = TaskFailure(
    TaskPk(12), TaskType.ENCODING, VideoId(7), "Script timeout after N seconds", "https://pod/12"
)


def test_a_failed_task_is_told_in_a_sentence_and_in_fields() -> None:
    event = task_failed("1", _AT, _ENGLISH, _FAILED)

    assert json.loads(event.body()) == {
        "id": "1",
        "type": "task.failed",
        "timestamp": "2026-03-01T02:03:04+00:00",
        "text": "[Pod] Task 12 (encoding, video 7) failed: Script timeout after N seconds",
        "data": {
            "task": 12,
            "task_type": "encoding",
            "video": 7,
            "reason": "Script timeout after N seconds",
            "link": "https://pod/12",
        },
    }
    assert OutgoingEvent.of_content(json.loads(event.body())) == event


def test_a_french_pod_is_told_in_french() -> None:
    french = task_failed("1", _AT, _FRENCH, _FAILED)

    assert french.text == "[Pod] La tâche 12 (encodage, vidéo 7) a échoué : Script timeout after N seconds"


def test_no_text_of_others_acts_or_fills_a_page() -> None:
    event = manager_down("1", _AT, _ENGLISH, "a\x1b[2Jb", reason="x\u202e\n" * 5000, comes_and_goes=False)

    assert "\x1b" not in event.text
    assert "\u202e" not in event.text
    assert "\n" not in event.text
    assert len(event.body()) < 3000


def test_braces_in_a_name_stay_what_they_are() -> None:
    event = manager_down("1", _AT, Wording("en", "{pk}"), "{name}", reason="{0}", comes_and_goes=True)

    assert event.text == "[{pk}] Runner manager {name} fails again and again: {0}"


def test_a_receiver_can_verify_the_signature_with_the_rules_of_standard_webhooks() -> None:
    key = b"0123456789abcdef01234567"
    secret = f"whsec_{base64.b64encode(key).decode()}"

    headers = signature_headers(signing_key(secret), "msg", 1700000000, b'{"a": 1}')

    expected = base64.b64encode(hmac.new(key, b'msg.1700000000.{"a": 1}', hashlib.sha256).digest()).decode()
    assert headers == {
        "webhook-id": "msg",
        "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{expected}",
    }


def test_the_example_that_the_rules_give_is_signed_as_they_say() -> None:
    # The one of the reference libraries of Standard Webhooks.
    headers = signature_headers(
        signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_key_a_message_has_its_id_and_time_and_no_signature() -> None:
    assert signature_headers(None, "msg", 5, b"") == {"webhook-id": "msg", "webhook-timestamp": "5"}


@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whsec_no base64 at all ****", "whsec_c2hvcnQ="])
def test_a_secret_that_is_too_short_is_no_key(secret: str) -> None:
    assert signing_key(secret) is None


def _watch(*looks: tuple[float, bool], told_down: bool = False) -> list[tuple[float, News]]:
    """What is told at looks at a manager (seconds, whether it is down), with a delay of 60 seconds."""
    said = []
    watched = WatchedManager(looks[0][1], looks[0][0], told_down=told_down)
    for now, is_down in looks:
        watched = watched.seen(now, is_down=is_down, delay=60.0)
        if (news := watched.news(now, delay=60.0)) is not None:
            said.append((now, news))
            watched = watched.told(is_down=news is not News.UP)
    return said


def test_a_manager_that_is_down_for_a_moment_is_not_told_of() -> None:
    assert _watch((0, False), (10, True), (50, True), (60, False), (900, False)) == []


def test_down_and_up_are_told_once_each_when_they_have_lasted() -> None:
    looks = [
        (0, False),
        (10, True),
        (69, True),
        (70, True),
        (500, True),
        (510, False),
        (569, False),
        (570, False),
    ]

    assert _watch(*looks, (9000, False)) == [(70, News.DOWN), (570, News.UP)]


def test_one_that_comes_and_goes_is_told_of_once_until_it_has_been_quiet_for_a_while() -> None:
    flapping = [(float(at), at % 40 == 0) for at in range(20, 2000, 20)]
    quiet = [(float(at), False) for at in range(2000, 4000, 20)]

    said = _watch((0, False), *flapping, *quiet)

    assert [news for _, news in said] == [News.COMES_AND_GOES, News.UP]
    assert said[0][0] == 120
    # The third but last time that it went down is ten delays ago.
    assert 2400 <= said[1][0] <= 2600


def test_who_takes_over_tells_nothing_that_was_told() -> None:
    assert _watch((0, True), (1000, True), told_down=True) == []
    assert _watch((0, False), (59, False), (60, False), told_down=True) == [(60, News.UP)]


def test_without_a_delay_all_is_told_at_once() -> None:
    watched = WatchedManager(False, 0.0).seen(1.0, is_down=True, delay=0.0)

    assert watched.news(1.0, delay=0.0) is News.DOWN
