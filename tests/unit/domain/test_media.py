"""Whether what a runner fetched is the file that a video has now, told by the address alone."""

import pytest

from poddispatchd.domain.media import is_another_source
from poddispatchd.domain.task import VideoId

_BASE = "https://pod.example.org/media/"


@pytest.mark.parametrize(
    ("fetched", "now", "is_another"),
    [
        ("videos/abc/film.mp4", "videos/abc/film.mp4", False),
        ("videos/abc/film.mp4", "videos/abc/other.mp4", True),
        ("videos/abc/film.mp4", "videos/def/film.mp4", False),
        ("videos/abc/100%25 d'été.mp4", "videos/abc/100% d'été.mp4", False),
        ("videos/abc/100% d'été.mp4", "videos/abc/100% d'été.mp4", False),
        ("videos/abc/what%3F.mp4", "videos/abc/what?.mp4", False),
        ("videos/abc/0007/audio_192k_film.mp3", "videos/abc/other.mp4", False),
        ("videos/abc/film.mp4", "", False),
    ],
    ids=["same", "replaced", "moved", "escaped", "as it stands", "question mark", "audio of it", "no file"],
)
def test_only_another_name_tells_of_another_file(fetched: str, now: str, *, is_another: bool) -> None:
    assert is_another_source(_BASE + fetched, [now], VideoId(7)) is is_another


def test_audio_that_is_not_beside_its_video_is_no_earlier_file_of_it() -> None:
    files = ["videos/abc/film.mp4", "videos/abc/0042/audio.mp3"]
    assert not is_another_source(_BASE + "videos/abc/0042/audio.mp3", files, VideoId(1042))
    assert is_another_source(_BASE + "videos/abc/0042/other.mp3", files, VideoId(1042))
