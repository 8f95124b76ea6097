"""Every sentence that ends a task, and so stands in a mail to ADMINS, is there in French."""

import ast
import re
import time
from collections.abc import Iterator
from itertools import chain, product

import pytest

from poddispatchd.dispatch.payloads import MISSING_WORDS
from poddispatchd.domain.failures import advice
from poddispatchd.domain.french import ENGLISH, _Sought, in_language
from poddispatchd.domain.french_sentences import PHRASES, SENTENCES
from tests.unit.sources import of_the_product

_ERRORS = {
    "UnsubmittableError",
    "ResultIncompleteError",
    "ResultRefusedError",
    "DownloadError",
    "BrokenOffError",
    "TooSlowError",
    "ResultGoneError",
    "ResultUnfetchableError",
    "RunnerTaskUnknownError",
    "PayloadRefusedError",
}
"""Their words end a task, or send it back into the queue, and stand in its output then."""

_LISTS = {"refused", "incomplete", "alerts"}
"""Lists of findings that such an error, or a mail to ADMINS, is made of."""

_KEPT = {"{}", "{} {}", "None of the {}"}
"""Templates that only pass on what was worded elsewhere."""

_SAMPLES = (
    "x.mp4",
    "info_video.json",
    "",
    "is cut short",
    "is not relative",
    "renditions",
    "Its runner manager has been deleted from Pod.",
)


def _template(node: ast.expr) -> str | None:
    """The text of a literal or an f-string, with ``{}`` for what varies; None for what is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _worded() -> Iterator[tuple[str, str]]:
    for source in of_the_product():
        for node in source.nodes:
            if not isinstance(node, ast.Call):
                continue
            is_error = isinstance(node.func, ast.Name) and node.func.id in _ERRORS
            is_finding = (
                isinstance(node.func, ast.Attribute)
                and node.func.attr == "append"
                and getattr(node.func.value, "attr", getattr(node.func.value, "id", "")) in _LISTS
            )
            for argument in node.args if is_error or is_finding else ():
                template = _template(argument)
                if template is not None and template not in _KEPT:
                    yield f"{source.name}:{node.lineno}", template


def test_what_ends_a_task_is_there_in_french() -> None:
    worded = list(_worded())
    assert len(worded) > 50
    missing = [f"{place}: {template}" for place, template in worded if not _is_translated(template)]
    assert missing == [], "add them to french_sentences.py"


def _is_translated(template: str) -> bool:
    """Whether a template has a French one, whatever stands in its places."""
    *pieces, last = template.split("{}")
    fillings = product(_SAMPLES, repeat=len(pieces))
    sentences = (
        "".join(chain.from_iterable(zip(pieces, filling, strict=True))) + last for filling in fillings
    )

    return any(map(_is_french, sentences))


def _is_french(words: str) -> bool:
    """Whether no sentence of it was left as it is."""
    french = in_language(words, "fr")
    return french != words and not any(
        part in french for part in re.split(r"(?<=[.:;]) ", words) if len(part) > 12
    )


@pytest.mark.parametrize("words", MISSING_WORDS.values())
def test_a_source_that_is_not_there_is_told_in_french(words: str) -> None:
    french = in_language(words.format(path="/srv/media/l'été 1.mp4"), "fr")

    assert "/srv/media/l'été 1.mp4" in french
    assert "source file" not in french


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("Recording 2 has no file", "L'enregistrement 2 n'a pas de fichier"),
        ("Video 7 has its file outside MEDIA_ROOT", "La vidéo 7 a son fichier hors de MEDIA_ROOT"),
        ("The audio encoding of video 7 has no file", "L'encodage audio de la vidéo 7 n'a pas de fichier"),
    ],
)
def test_what_has_no_usable_file_is_named_in_french_too(english: str, french: str) -> None:
    ends = {"file": ": upload it again, or delete the task.", "ROOT": " (/x), where runners cannot fetch it."}
    [end] = [words for last, words in ends.items() if english.endswith(last)]
    assert in_language(english + end, "fr").startswith(french)


@pytest.mark.parametrize(
    "error",
    ["Invalid fields: source_language", "duration is 0 seconds", "does not appear to be a valid video",
     "no audio stream", "Script timeout after 3600 s", "exceeds MAX_VIDEO_SIZE_GB"],
)  # fmt: skip
def test_advice_is_given_in_french(error: str) -> None:
    english = advice(error)
    assert english is not None

    assert _is_french(english)


@pytest.mark.parametrize("varies", ["<{}>", "my {} (2).mp4"])
def test_every_sentence_is_found_again_with_what_varies_in_it(varies: str) -> None:
    """A file with a space in its name was told in English, where a phrase of ours stood behind it."""
    for english, french in SENTENCES.items():
        for places in (english, french):
            assert places.count("{") == places.count("}")
        assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", french)), english
        phrase, french_phrase = next(iter(PHRASES.items()))
        values = {"phrase": phrase, "lines": ""}
        filled = re.sub(r"\{(\w+)\}", lambda place: values.get(place[1], varies.format(place[1])), english)  # noqa: B023
        expected = {"phrase": french_phrase, "lines": ""}
        wanted = re.sub(r"\{(\w+)\}", lambda place: expected.get(place[1], varies.format(place[1])), french)  # noqa: B023
        assert in_language(filled, "fr-ca") == wanted


def test_sentences_one_after_the_other_and_within_each_other() -> None:
    words = (
        "Its result cannot be imported: 360p.m3u8 (the playlist of 640x360) is missing.; "
        "overview.vtt (the overview) is empty."
    )

    assert in_language(words, "fr") == (
        "Son résultat ne peut pas être importé : 360p.m3u8 (la liste de lecture de 640x360) manque.; "
        "overview.vtt (l'aperçu) est vide."
    )


@pytest.mark.parametrize("lines", ["", ": line 4", ": lines 4, 9, …"])
@pytest.mark.parametrize("words", ["None of the 3 captions in {} could be read{} ({}).",
                                   "2 of 3 captions in {} could not be read{} ({})."])  # fmt: skip
def test_captions_that_are_lost_are_told_in_french(words: str, lines: str) -> None:
    assert _is_french(words.format("a.vtt", lines, "times are written 00:01:02.345 --> 00:01:04.000"))


def test_what_others_say_stays_as_it_is() -> None:
    said = "ffmpeg: moov atom not found\nThe source cannot be read as a video: upload it again."

    assert in_language(said, "fr") == (
        "ffmpeg: moov atom not found\nLa source ne peut pas être lue comme une vidéo : déposez-la de nouveau."
    )


def test_a_long_log_is_looked_through_at_once() -> None:
    log = "a. " * 3000
    begun = time.thread_time()
    assert in_language(f"{log}Video 7 has been deleted.", "fr") == f"{log}La vidéo 7 a été supprimée."
    assert time.thread_time() - begun < 2


def test_our_own_sentences_hundreds_of_times_in_a_row_hold_nobody_up() -> None:
    """A runner's output of 75 kB, or a hostile one, held up the whole daemon for six minutes."""
    one = "None of the 3 captions in a.vtt could be read (times are written 00:01:02.345 --> 00:01:04.000"
    text = "\n".join([f"{one}).", *[one] * 900, "Video 7 has been deleted."])

    told = in_language(text, "fr").split("\n")

    assert told[0].startswith("Aucun des 3 sous-titres de a.vtt")
    assert told[1:-1] == [one] * 900
    assert told[-1] == "La vidéo 7 a été supprimée."


def test_sentences_that_begin_with_anything_are_not_looked_for_from_each_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lines of a runner's output in front of the ends of our sentences held up the daemon for seconds."""
    ends = "\n".join(english.rpartition("}")[2] for english in SENTENCES if english.startswith("{"))
    text = "a\n" * 3000 + ends
    tried: list[int] = []
    match = _Sought.match

    def counted(sought: _Sought, at: int) -> re.Match[str] | None:
        if sought.known.behind is not None:
            tried.append(at)
        return match(sought, at)

    monkeypatch.setattr(_Sought, "match", counted)
    assert "a\na\n" in in_language(text, "fr")
    assert len(tried) < 1000


def test_what_stands_amid_a_long_output_is_left_as_it_is() -> None:
    ours, line = "Video 7 has been deleted.", "frame=1 fps=25 q=28.0 size=1kB\n"

    told = in_language(f"{ours}\n{line * 400}{ours}\n{line * 400}{ours}", "fr")

    assert told == f"La vidéo 7 a été supprimée.\n{line * 400}{ours}\n{line * 400}La vidéo 7 a été supprimée."


@pytest.mark.parametrize("language", [ENGLISH, "en-gb", "de"])
def test_other_languages_have_it_in_english(language: str) -> None:
    words = "Video 7 has been deleted."

    assert in_language(words, language) == words
