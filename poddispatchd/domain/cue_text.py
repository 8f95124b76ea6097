"""The text of captions with no other markup than WebVTT knows.

Players of the web write a caption's text into the page; what they would take for an element of it is taken
out.
"""

import re

__all__ = ["clean_plain", "clean_text", "is_harmless_style"]

_LOOKS_LIKE_A_TAG = re.compile(r"<\s*[/!?a-z]", re.IGNORECASE)
_SPAN = re.compile(r"<(/?)(c|i|b|u|ruby|rt|v|lang)((?:\.[\w-]{1,50})*)(?:\s+([^>]*))?>")
_TIMESTAMP = re.compile(r"<(?:\d{1,4}:)?\d{2}:\d{2}\.\d{3}>")
_SPEAKER = re.compile(r"[\w\s.,;:'\u2019&()/+-]{1,100}")
_LANGUAGE = re.compile(r"[A-Za-z0-9-]{1,35}")
_ACTIVE_STYLE = re.compile(r"url|image|@|\\|<|>|expression|script|behavior|binding|/\*", re.IGNORECASE)


def clean_text(text: str) -> str:
    """The text of a caption; a tag that WebVTT does not know is taken out, what it holds stays."""
    kept: list[str] = []
    at = end = 0
    # Every step goes on behind what it has looked at: megabytes of "<" take no longer than another text.
    while (tag := text.find("<", at)) >= 0:
        kept.append(text[at:tag])
        if 0 <= end <= tag:
            end = text.find(">", tag)
        if end < 0:
            kept.append(text[tag:].replace("<", "&lt;"))
            return "".join(kept)
        if (time := _TIMESTAMP.match(text, tag)) is not None:
            kept.append(time[0])
            at = end + 1
        elif _LOOKS_LIKE_A_TAG.match(text, tag):
            kept.append(_kept(_SPAN.match(text, tag)))
            at = end + 1
        else:
            kept.append("&lt;")
            at = tag + 1
    kept.append(text[at:])
    return "".join(kept)


def clean_plain(text: str) -> str:
    """A text that holds no markup at all: a note or an identifier."""
    return text.replace("<", "&lt;")


def is_harmless_style(lines: tuple[str, ...]) -> bool:
    """Whether a STYLE block only styles: it fetches nothing and runs nothing."""
    return _ACTIVE_STYLE.search("\n".join(lines)) is None


def _kept(span: re.Match[str] | None) -> str:
    if span is None:
        return ""
    slash, name, classes, annotation = span.groups()
    if slash:
        return f"</{name}>"
    allowed = {"v": _SPEAKER, "lang": _LANGUAGE}.get(name)
    annotation = (annotation or "").strip()
    if allowed is None or not allowed.fullmatch(annotation):
        annotation = ""
    return f"<{name}{classes}{' ' if annotation else ''}{annotation}>"
