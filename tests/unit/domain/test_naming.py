"""Names are those that Django and Pod make."""

import re
import string
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain import naming
from poddispatchd.domain.media import video_number
from poddispatchd.domain.task import RunnerTaskId, TaskPk, VideoId


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Été à Évry", "ete-a-evry"),
        ("  100 % d'amour — « BCB »  ", "100-damour-bcb"),
        ("a_b -- c", "a_b-c"),
        ("__-x-__", "x"),
        ("日本", ""),
        ("tab\tand\nline", "tab-and-line"),
        ("ﬁn", "fin"),
    ],
)
def test_a_slug_is_the_one_django_makes(text: str, slug: str) -> None:
    assert naming.slugify(text) == slug


@given(st.text())
def test_a_slug_is_a_slug_and_stays_the_same(text: str) -> None:
    slug = naming.slugify(text)
    assert re.fullmatch(r"[a-z0-9_-]*", slug)
    assert not slug.startswith(("-", "_"))
    assert not slug.endswith(("-", "_"))
    assert "--" not in slug
    assert naming.slugify(slug) == slug


def test_the_extension_of_a_stored_file_keeps_its_case() -> None:
    assert naming.slugified_file_name("Vignette été (1).PNG") == "vignette-ete-1.PNG"


def test_a_stored_file_always_has_a_stem() -> None:
    assert naming.slugified_file_name("日本.png") == "file.png"


@given(st.integers(1, 10**9), st.text(), st.text())
def test_a_suffix_is_seven_characters_and_the_same_for_the_same_import(
    task: int, runner: str, name: str
) -> None:
    first = naming.collision_suffix(TaskPk(task), RunnerTaskId(runner), name)
    assert len(first) == 7
    assert set(first) <= set(string.ascii_letters + string.digits)
    assert first == naming.collision_suffix(TaskPk(task), RunnerTaskId(runner), name)


def test_another_task_takes_another_suffix() -> None:
    one, two = (naming.collision_suffix(TaskPk(pk), RunnerTaskId("a"), "s_0.png") for pk in (1, 2))
    assert one != two


def test_a_suffix_goes_before_the_extension() -> None:
    assert naming.with_suffix("s_0.png", "abcDEF1") == "s_0_abcDEF1.png"


@given(
    st.text("abc", min_size=1, max_size=200),
    st.text("xyz", min_size=1, max_size=300),
)
def test_a_path_fits_its_column_and_keeps_its_extension(directory: str, stem: str) -> None:
    path = naming.fit_file_field(directory, f"{stem}.png")
    assert len(path) <= 255
    assert path.endswith(".png")
    assert path.startswith(f"{directory}/{stem[:10]}")


@pytest.mark.parametrize(
    ("limit", "fitted"), [(10, "d/name.mp4"), (11, "d/name.mp4"), (9, "d/nam.mp4"), (7, "d/n.mp4")]
)
def test_a_name_that_is_too_long_loses_the_end_of_its_stem_and_no_more(limit: int, fitted: str) -> None:
    assert naming.fit_file_field("d", "name.mp4", limit=limit) == fitted


def test_a_name_of_which_no_letter_would_be_left_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        naming.fit_file_field("d", "name.mp4", limit=6)


def test_a_suffix_has_seven_characters() -> None:
    assert len(naming.collision_suffix(TaskPk(1), None, "a.png")) == 7


def test_a_directory_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        naming.fit_file_field("d" * 255, "a.png")


@pytest.mark.parametrize("length", [1, 180, 240, 300])
def test_a_suffix_stays_whole_however_long_the_name_is(length: int) -> None:
    path = naming.fit_with_suffix("files", f"{'s' * length}.png", "abcDEF1")
    assert path.endswith("s_abcDEF1.png")
    assert len(path) == min(255, len("files/_abcDEF1.png") + length)


def test_the_number_of_a_video_has_at_least_four_digits() -> None:
    assert video_number(VideoId(7)) == "0007"
    assert video_number(VideoId(12345)) == "12345"


def test_a_video_without_a_sluggable_title_keeps_its_number() -> None:
    assert naming.video_slug(VideoId(7), "日本") == "0007-"


def test_the_slug_of_a_video_fits_its_column() -> None:
    assert len(naming.video_slug(VideoId(7), "long " * 100)) <= 255


def test_a_studio_file_is_named_after_its_moment() -> None:
    moment = datetime(2026, 1, 5, 9, 8, 7, 6, tzinfo=UTC)
    assert naming.studio_file_name(moment) == "studio_base_2026-01-05_09-08-07.000006.mp4"


def test_subtitles_are_named_after_their_language_and_moment() -> None:
    moment = datetime(2026, 1, 5, 9, 8, 7, tzinfo=UTC)
    assert naming.subtitle_file_name("fr", moment) == "subtitle_fr_20260105-090807.vtt"


def test_logs_tell_the_time_of_the_site() -> None:
    moment = datetime(2026, 7, 5, 22, 30, tzinfo=UTC)
    assert naming.ctime(moment, ZoneInfo("Europe/Paris")) == "Mon Jul  6 00:30:00 2026"
