"""The status page: what it shows, what it never lets through, and that everyone can use it."""

import base64
import hashlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from poddispatchd.domain.situation import Finding, Reason, Severity
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.journal.campaigns import Campaign, CampaignId, CampaignState, VideoState
from poddispatchd.tasks.campaign_progress import CampaignProgress
from poddispatchd.web import page
from poddispatchd.web.campaigns import campaign_reports
from poddispatchd.web.expected_state import ExpectedState
from poddispatchd.web.page import page_policy, status_page
from poddispatchd.web.state import WaitingState
from tests.unit.web.samples import CALM, NOW, OVERVIEW, PAGES, STARTING, TROUBLE, manager


def _text(page: str) -> str:
    body = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_page_is_that_of_the_release_that_was_started_whatever_lies_there_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page._template.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "of another release")

    shown = status_page(CALM, "")

    assert "All is well." in shown
    assert "another release" not in shown


def test_all_is_well_only_where_nothing_waits_for_long() -> None:
    assert "All is well." in PAGES["calm"]
    assert "All is well." not in PAGES["trouble"]
    assert "All is well." not in status_page(replace(CALM, notices=("Ten tasks wait.",)), "", None)


def test_a_long_name_of_a_runner_manager_is_broken_and_a_short_one_is_not() -> None:
    """It pushed the columns with the state and its reason out of the page."""
    name = "encoder-of-the-computing-centre-of-the-university"
    page = status_page(replace(CALM, managers=(manager(1, name), manager(2, "gpu-1"))), "", None)

    assert f'<th scope="row" class="name">{name}</th>' in page
    assert '<th scope="row" class="nowrap">gpu-1</th>' in page


def test_a_type_says_why_it_waits_and_what_to_do() -> None:
    text = _text(PAGES["trouble"])

    assert "encoding : They wait for a free runner: encoders is full since 16:10:00" in text
    assert "Every active runner manager of pod.example.org is paused (second). Resume one: " in text


def test_what_runs_what_ended_and_what_failed_is_listed_with_titles_and_words() -> None:
    text = _text(PAGES["trouble"])

    assert (
        "50 Amphi B: introduction à la thermodynamique des systèmes ouverts et fermés encoding encoders"
        in text
    )
    assert "1 h 13 min" in text
    assert "failed : effective video duration is 0 seconds" in text
    assert re.search(r"2 effective video duration is N seconds 20\S+ \S+ \S+ 40, 41 [0-9a-f]{8} ", text)
    assert "poddispatchd failures show GROUP" in text


def test_campaigns_show_how_far_they_are_and_why_one_is_paused() -> None:
    counts = dict.fromkeys(VideoState, 0) | {VideoState.WAITING: 7, VideoState.COMPLETED: 3}
    campaign = Campaign(
        id=CampaignId(1),
        name="hls",
        task_type=TaskType.ENCODING,
        at_most=2,
        windows=None,
        state=CampaignState.ACTIVE,
        words="",
        created_at=NOW,
        created_by="eve",
        changed_at=NOW,
        changed_by="eve",
        videos=10,
        counts=counts,
    )
    paused = replace(
        campaign, name="captions", state=CampaignState.PAUSED, words="The last 5 <tasks> failed."
    )
    known = [CampaignProgress(each, None, None, NOW) for each in (campaign, paused)]
    page = status_page(replace(CALM, campaigns=campaign_reports(known)), "", None)

    assert "hls encoding active 3 of 10 unknown 7 waiting, 3 completed; at most 2 at a time." in _text(page)
    assert "captions encoding paused" in _text(page)
    assert "The last 5 &lt;tasks&gt; failed." in page


def test_managers_are_described_in_plain_words() -> None:
    text = _text(PAGES["trouble"])

    assert "full for encoding since " in text
    assert "● " not in text  # the mark is drawn, not said
    for word in ("up", "paused", "down", "inactive"):
        assert f" {word} " in text
    assert "half_open" not in text


def test_times_carry_their_zone() -> None:
    assert re.search(r"as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d CES?T", PAGES["trouble"])


def test_titles_and_names_of_others_are_text_and_no_markup() -> None:
    assert "<script>alert(1)</script>" not in PAGES["trouble"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in PAGES["trouble"]
    assert "<b>old</b>" not in PAGES["trouble"]
    assert "no &lt;server&gt; answers" in STARTING


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_the_policy_allows_just_the_style_and_the_script_of_the_page(page: str) -> None:
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in page_policy()
    assert "style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert "unsafe-inline" not in page_policy()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_the_page_works_without_its_script(page: str) -> None:
    assert "http-equiv" not in page
    assert '<a href="/status">look again</a>' in page


def test_a_lost_database_is_not_another_daemon() -> None:
    lost = replace(CALM, leader=False, database_up=False, problems=("The database cannot be reached.",))
    assert "cannot schedule: the database is away" in status_page(lost, "", None)
    standby = replace(CALM, leader=False, scheduler="pod2:77")
    assert "stands by (pod2:77 schedules)" in status_page(standby, "", None)


def test_what_is_expected_is_told_and_so_is_what_is_not_known() -> None:
    page = PAGES["trouble"]

    assert '<td class="nowrap">in 4 min to 12 min</td><td class="nowrap">in 19 min to 48 min</td>' in page
    assert '<td class="nowrap">in 1 h 10 min to 3 h 10 min</td><td class="nowrap">unknown</td>' in page
    assert '<td class="nowrap">in 10 h 00 min to 1 d 1 h</td>' in page
    assert "within 35 min" in page
    assert "begins" not in _text(PAGES["calm"])


def test_nothing_is_said_of_the_future_while_nothing_is_known_of_it() -> None:
    text = _text(status_page(replace(TROUBLE, expected=ExpectedState(NOW)), "", OVERVIEW))

    assert "unknown" not in text
    assert "begins" not in text


def test_what_keeps_a_whole_type_is_said_at_length_once() -> None:
    text = _text(PAGES["trouble"])

    assert text.count("encoders is full since 16:10:00") == 2  # among the notices, and of the type
    assert text.count("They wait for a free runner. ") == len(TROUBLE.waiting)


def test_what_keeps_one_task_only_is_said_at_length() -> None:
    wait = Finding(Reason.RETRY_WAIT, Severity.NORMAL, "It was put back: it waits until 17:00. Then it goes.")
    state = replace(TROUBLE, waiting=(WaitingState(TaskPk(7), "encoding", 1, wait),))

    assert wait.words in _text(status_page(state, "", OVERVIEW))


def test_tasks_that_wait_have_titles() -> None:
    text = _text(PAGES["trouble"])

    assert "1 101 Analyse, chapitre 1 encoding" in text


def test_types_for_which_a_manager_is_full_since_the_same_second_are_told_together() -> None:
    since = NOW - timedelta(minutes=50)
    full = replace(
        TROUBLE.managers[0],
        full_for={TaskType.ENCODING: 40.0, TaskType.STUDIO: 20.0},
        full_since={
            TaskType.ENCODING: since.replace(microsecond=1),
            TaskType.STUDIO: since.replace(microsecond=2),
        },
    )
    text = _text(status_page(replace(TROUBLE, managers=(full,)), "", OVERVIEW))

    assert re.search(r"full for encoding and studio since \S+ \S+ \S+, asked again in 20 s", text)
