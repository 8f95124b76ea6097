"""HTTP Live Streaming playlists: are they whole, and the master playlist that Pod adds to them."""

import re
import unicodedata
from collections.abc import Sequence

from msgspec import Struct

from poddispatchd.domain.file_policy import uri_problem

_BYTE_RANGE = re.compile(r"^(\d{1,15})(?:@(\d{1,15}))?$")
_ADDRESS = re.compile(r"""(?:URI|VALUE|PATH)\s*=\s*("[^"]*"|[^",\s]*)""", re.IGNORECASE)
"""In tags, an address is the value of an attribute whose name ends so."""

_LONGEST_LINE = 8192
"""Characters: a name has 255, and a tag some attributes."""

_MOST_LINES = 500_000
"""Of a playlist: one of a day with segments of two seconds has 130,000."""

_TAGS = frozenset(
    {
        *("#EXTM3U", "#EXTINF", "#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE"),
        *("#EXT-X-DISCONTINUITY", "#EXT-X-DISCONTINUITY-SEQUENCE", "#EXT-X-PLAYLIST-TYPE", "#EXT-X-ENDLIST"),
        *("#EXT-X-BYTERANGE", "#EXT-X-MAP", "#EXT-X-KEY", "#EXT-X-BITRATE", "#EXT-X-GAP", "#EXT-X-START"),
        *("#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-ALLOW-CACHE"),
        *("#EXT-X-I-FRAMES-ONLY", "#EXT-X-STREAM-INF", "#EXT-X-MEDIA", "#EXT-X-I-FRAME-STREAM-INF"),
    }
)
"""What encoders write. The other tags make players fetch, from addresses in attributes of many names."""

_CONTROLS = ("Cc", "Zl", "Zp")
"""Categories of Unicode: players see the line ends among them as characters of a line."""

_WITH_UNIT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmg])", re.IGNORECASE)
_PLAIN = re.compile(r"\d{1,12}(?:\.\d{1,6})?")
_FACTOR = {"k": 10**3, "m": 10**6, "g": 10**9}

_PLAIN_KILOBITS = 100_000
"""A number without a unit below this is kilobits: no video stream has fewer than 100,000 bits a second."""


class Variant(Struct, frozen=True):
    """One rendition in a master playlist; ``bandwidth`` in bits a second, ``resolution`` as ``640x360``."""

    bandwidth: int
    resolution: str
    uri: str


def parse_bitrate(text: str) -> int | None:
    """Bits a second from what Pod's administrators type: ``750k``, ``2M``, ``2000``; None if unreadable.

    Like Pod, the first number with a unit anywhere in the text counts.
    """
    match = _WITH_UNIT.search(text)
    if match is not None:
        number, unit = float(match[1]), match[2].lower()
    else:
        match = _PLAIN.search(text)
        if match is None:
            return None
        number = float(match[0])
        unit = "k" if number < _PLAIN_KILOBITS else ""
    bits = int(number * _FACTOR.get(unit, 1))
    return bits or None


def playlist_findings(name: str, text: str, media_size: int) -> list[str]:
    """What is wrong with a playlist whose segments lie in one file of ``media_size`` bytes, each a sentence.

    A runner that crashed leaves a playlist without its end, or one that points behind the end of the file.
    """
    if _is_too_long(text):
        return [f"{name} has more than {_MOST_LINES} lines."]
    lines = _lines(text)
    if lines[0] != "#EXTM3U":
        return [f"{name} is not a playlist."]
    findings = []
    if "#EXT-X-ENDLIST" not in lines:
        findings.append(f"{name} is cut short: it has no end mark.")
    end = _end_of_ranges(lines)
    if end is None:
        findings.append(f"{name} holds a byte range that cannot be read.")
    elif end > media_size:
        findings.append(
            f"{name} needs {end} bytes of its .ts file, which has only {media_size}: the file is cut short."
        )
    return findings


def address_findings(name: str, text: str) -> list[str]:
    """Where a playlist would lead a player to something else than files beside it, each a sentence."""
    if _is_too_long(text):
        return [f"{name} has more than {_MOST_LINES} lines."]
    lines = _lines(text)
    if lines[0] != "#EXTM3U":
        return [f"{name} is not a playlist."]
    lines = list(dict.fromkeys(lines))
    odd = [
        f"{name} holds a line that {problem}: {line[:60]!a}."
        for line in lines
        if (problem := _line_problem(line)) is not None
    ]
    if odd:
        return odd
    addresses = (
        address.strip("\"'")
        for line in lines
        for address in (_ADDRESS.findall(line) if line.startswith("#") else [line])
    )
    distinct = dict.fromkeys(addresses)
    return [
        f"{name} names an address that {problem}: {address[:60]!a}."
        for address in distinct
        if (problem := uri_problem(address)) is not None
    ]


def is_cut(name: str, text: str) -> bool:
    """Whether nothing is wrong with a playlist but that it breaks off in the middle of a tag."""
    if _is_too_long(text):
        return False
    *lines, last = _lines(text)
    if not last:
        return False
    if not lines:
        return "#EXTM3U".startswith(last)
    is_beginning = any(tag.startswith(last) for tag in _TAGS)
    is_half_quoted = last.partition(":")[0] in _TAGS and last.count('"') % 2 == 1
    return (is_beginning or is_half_quoted) and not address_findings(
        name, "\n".join([*lines, f'{last}"' if is_half_quoted else ""])
    )


def _is_too_long(text: str) -> bool:
    """Whether a text has so many lines that a list of them would take many times its memory."""
    return text.count("\n") + text.count("\r") > _MOST_LINES


def _lines(text: str) -> list[str]:
    # Not by one regular expression: it would hold up everything else for as long as a playlist is long.
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return [line.strip(" \t") for line in plain.split("\n")]


def _line_problem(line: str) -> str | None:
    """Why players may read a line otherwise than we do, in words; None when they cannot."""
    if len(line) > _LONGEST_LINE:
        return f"has more than {_LONGEST_LINE} characters"
    is_plain = line.isascii() and line.isprintable()
    if not is_plain and any(
        unicodedata.category(character) in _CONTROLS for character in line.replace("\t", "")
    ):
        return "holds a control character"
    if line.startswith("#EXT") and line.partition(":")[0] not in _TAGS:
        return "begins with a tag that no result needs"
    if "#EXT" in line[1:]:
        return "holds a tag that does not begin it"
    if line.startswith("#") and line.count('"') % 2:
        return "has a quotation mark without its other one"
    return None


def _end_of_ranges(lines: Sequence[str]) -> int | None:
    """The last byte that any range reaches; 0 without ranges; None if a range cannot be read."""
    end = position = 0
    for line in lines:
        if not line.startswith("#EXT-X-BYTERANGE:"):
            continue
        match = _BYTE_RANGE.match(line.partition(":")[2].strip())
        if match is None:
            return None
        # Without an offset a range begins where the one before it ends (RFC 8216, 4.3.2.2).
        start = int(match[2]) if match[2] is not None else position
        position = start + int(match[1])
        end = max(end, position)
    return end


def master_playlist(variants: Sequence[Variant]) -> str:
    """The text of ``playlist.m3u8``, its renditions in the given order."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3"]
    for variant in variants:
        lines.append(f"#EXT-X-STREAM-INF:BANDWIDTH={variant.bandwidth},RESOLUTION={variant.resolution}")
        lines.append(variant.uri)
    return "\n".join(lines) + "\n"
