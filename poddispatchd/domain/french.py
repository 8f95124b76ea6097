"""French for the sentences that Pod's people read: the reasons in mails to ADMINS.

Everything is worded in English, for the log and the journal, and put into French where a mail is written,
sentence by sentence (``french_sentences``). What a runner or a library says stays as it is. A ``{place}``
stands for what varies; of some places the content is a phrase of ours as well.
"""

import re
from collections.abc import Sequence
from functools import cache

from poddispatchd.domain.french_sentences import PHRASES, SENTENCES

ENGLISH = "en"
"""What words are in until somebody reads them."""

_ANYTHING = ".+?"
_PLACE = re.compile(r"\{(\w+)\}")
_SPACE = re.compile(r"[\s;]*")
_END = re.compile(r"(?<=[.!?:])\s|\n|; ")


def in_language(words: str, language: str) -> str:
    """Words of ours in a language of Pod's (``pod.language``); what is not known stays in English."""
    return _french(words) if language.partition("-")[0] == "fr" else words


def _french(words: str) -> str:
    """Sentence by sentence: the known one that ends first, of those the one that says most by itself."""
    parts, at = [], 0
    known = _patterns()
    while at < len(words):
        tried = [(each, each[0].match(words, at)) for each in known]
        found = [
            (match.end(), -weight, french, match)
            for (_, weight, french, _), match in tried
            if match is not None
        ]
        # What begins with anything at all and ends nowhere behind this point ends nowhere behind a later one.
        # Looked for from each sentence of a log anew, it would hold up everything else for minutes.
        known = [each for each, match in tried if match is not None or not each[3]]
        if found:
            end, _, french, match = min(found, key=lambda each: each[:2])
            parts.append(_filled(french, match))
        else:
            end = _next_sentence(words, at)
            parts.append(words[at:end])
        space = _SPACE.match(words, end)
        assert space is not None  # noqa: S101 - it may be empty
        parts.append(space[0])
        at = space.end()
    return "".join(parts)


def _next_sentence(words: str, at: int) -> int:
    end = _END.search(words, at)
    return len(words) if end is None else end.start()


def _filled(french: str, match: "re.Match[str]") -> str:
    values = {
        name: PHRASES.get(value, value) if name == "phrase" else value
        for name, value in match.groupdict().items()
    }
    return _PLACE.sub(lambda place: values[place[1]], french)


@cache
def _patterns() -> Sequence[tuple["re.Pattern[str]", int, str, bool]]:
    """For each sentence: what recognises it, how many letters of it are its own, its French, its openness.

    An open one begins with a place for anything at all.
    """
    known = []
    for english, french in SENTENCES.items():
        parts = _PLACE.split(english)
        text = "".join(
            re.escape(part) if number % 2 == 0 else f"(?P<{part}>{_content_of(part)})"
            for number, part in enumerate(parts)
        )
        end = "" if english.endswith(": ") else r"(?=$|[\s;])"
        is_open = not parts[0] and _content_of(parts[1]) == _ANYTHING
        known.append((re.compile(text + end, re.DOTALL), sum(map(len, parts[::2])), french, is_open))
    return tuple(known)


def _content_of(place: str) -> str:
    if place == "phrase":
        return "|".join(map(re.escape, PHRASES))
    return r"(?:: lines? [^()]*)?" if place == "lines" else _ANYTHING
