"""Failures of one reason are one group, whatever numbers, files and times their words name."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain import failure_groups
from poddispatchd.domain.failure_groups import NO_WORDS, FailedTask, group_key, grouped, reason_of
from poddispatchd.domain.task import TaskPk

NOW = datetime(2026, 3, 10, 14, tzinfo=UTC)


def failed(pk: int, words: str | None, *, minutes_ago: int = 0) -> FailedTask:
    return FailedTask(TaskPk(pk), "encoding", NOW - timedelta(minutes=minutes_ago), words, NOW)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("Script timeout after 18000 seconds", "Script timeout after 3600 seconds"),
        (
            "Task adcb961a-5970-44a1-82d3-f8cb467f69aa was lost",
            "Task 11111111-2222-4333-8444-abcdefabcdef was lost",
        ),
        (
            "The source file /srv/pod/media/videos/ab12/0001-x.mp4 does not exist.",
            "The source file /data/media/videos/cd34/lecture.mov does not exist.",
        ),
        # Of a file that somebody put there by hand: Pod itself makes names without spaces.
        (
            "The source file videos/ab12/The secret talk.mp4 does not exist.",
            "The source file videos/cd34/lecture.mov does not exist.",
        ),
        ("Failed at 2026-03-10 14:00:01,123: no space", "Failed at 2025-12-31T23:59:59+01:00: no space"),
        ("no connection to 10.0.0.3 port 8081", "no connection to 10.0.11.4 port 8082"),
        ("GET http://a.example/x?y=1 gave 502", "GET https://b.example.org:8000/z gave 504"),
        ("frame= 120 speed=1.5x", "frame= 9 speed=0.25x"),
        ("worker 0xdeadbeef died", "worker 0x12 died"),
        ("checksum 5f4dcc3b5aa765d6 differs", "checksum 0a1b2c3d4e5f6789 differs"),
        ("amphi-b.mp4: moov atom not found", "cours.mkv: moov  atom\nnot found"),
    ],
)
def test_what_is_different_each_time_is_folded(one: str, another: str) -> None:
    assert reason_of(one) == reason_of(another)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("no audio stream", "no video stream"),
        ("runner is busy", "runner is away"),
        ("The source file /a/b does not exist.", "The source file /a/b is empty."),
    ],
)
def test_other_reasons_stay_apart(one: str, another: str) -> None:
    assert group_key(reason_of(one)) != group_key(reason_of(another))


def test_words_without_anything_to_fold_stay_as_they_are() -> None:
    assert reason_of("Neither mp4 nor h264 and/or audio: unsupported") == (
        "Neither mp4 nor h264 and/or audio: unsupported"
    )
    assert reason_of(None) == reason_of(" \n") == NO_WORDS


def test_groups_are_counted_dated_and_in_order() -> None:
    first, second = grouped(
        [
            failed(1, "no audio stream", minutes_ago=9),
            failed(2, "Script timeout after 10 seconds", minutes_ago=30),
            failed(3, "Script timeout after 20 seconds", minutes_ago=20),
            failed(4, "Script timeout after 20 seconds", minutes_ago=25),
        ]
    )

    assert (first.reason, [task.pk for task in first.failures]) == (
        "Script timeout after N seconds",
        [3, 4, 2],
    )
    assert (first.first, first.last) == (NOW - timedelta(minutes=30), NOW - timedelta(minutes=20))
    assert first.examples == ("Script timeout after 20 seconds", "Script timeout after 10 seconds")
    assert (second.reason, len(second.failures)) == ("no audio stream", 1)


@given(st.lists(st.text(max_size=300), max_size=20))
def test_every_failure_is_in_one_group_whose_reason_is_bounded(texts: list[str]) -> None:
    groups = grouped(failed(number, text) for number, text in enumerate(texts))

    assert sorted(task.pk for group in groups for task in group.failures) == list(range(len(texts)))
    assert len({group.key for group in groups}) == len(groups)
    assert all(0 < len(group.reason) <= 200 for group in groups)


@pytest.mark.parametrize("piece", ["a-", "a.", "/a", "1:", "ab", "0x", "a.b/"])
def test_words_of_a_million_characters_are_judged_by_their_beginning(piece: str) -> None:
    begun = time.thread_time()
    assert reason_of(piece * 2**20)
    assert time.thread_time() - begun < 5


def test_the_failures_of_a_page_are_folded_once_however_often_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five hundred long ones took a quarter of a second of each page, odd ones half a minute."""
    folded: list[str] = []

    class Counted:
        def sub(self, name: str, text: str) -> str:
            folded.append(name)
            return text

    monkeypatch.setattr(failure_groups, "_FOLDED", [(Counted(), "ONCE")])
    failure_groups._folded.cache_clear()
    words = [f"module{'.part' * 150} number {number} says no more than that" for number in range(500)]
    first = [reason_of(each) for each in words]

    assert [reason_of(each) for each in words] == first
    assert len(folded) == 500
    failure_groups._folded.cache_clear()
