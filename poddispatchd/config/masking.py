"""Addresses and texts without the secrets inside them.

Where a text is ambiguous, more is masked than need be: a password that nobody can see is worth a less
readable address.
"""

import re
from urllib.parse import unquote, unquote_plus, urlsplit

MASK = "***"

_SHOWN_PARAMETERS = frozenset(
    {
        "host", "hostaddr", "port", "dbname", "database", "user", "connect_timeout", "application_name",
        "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "gssencmode", "target_session_attrs",
        "client_encoding", "options", "passfile", "service", "servicefile", "krbsrvname",
    }
)  # fmt: skip
"""Parameters of a PostgreSQL address whose values are no secret; every other value is masked."""

_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_PAIR = re.compile(
    r"\s*(?P<key>[A-Za-z_]+)\s*=\s*(?P<value>'(?:\\.|[^'\\])*'|(?:\\.|[^\s'\\])*)(?=\s|\Z)", re.DOTALL
)


def mask_dsn(dsn: str) -> str:
    """A database address without its password: ``postgresql://pod:***@host/db``.

    Takes both ways libpq knows, an address (the password before the ``@`` or in the query) and
    ``key=value`` pairs. What is neither is masked whole: it may be a password in the wrong place.
    """
    match = _URI.fullmatch(dsn.strip())
    if match is not None:
        return f"{match['scheme']}://{_mask_rest(match['rest'])}"
    return _mask_pairs(dsn.strip())


def _mask_rest(rest: str) -> str:
    netloc, separator, tail = _split_netloc(rest)
    credentials, at, hosts = netloc.rpartition("@")
    if "@" in tail.partition("?")[0] or ("@" in tail and ":" in (credentials if at else netloc)):
        # A password with an unescaped / ? or #: everything up to the last @ may belong to it, and what comes
        # after that one to a second password in the query.
        before, _, after = rest.rpartition("@")
        user = re.split(r"[:/?#]", before, maxsplit=1)[0]
        shown = MASK if "password" in unquote_plus(before).lower() else _mask_tail(after)
        return f"{user}:{MASK}@{shown}"
    if at and ":" in credentials:
        credentials = f"{credentials.partition(':')[0]}:{MASK}"
    # Without an @, what stands after the colon is a port; anything else is a password missing its host.
    hosts = ",".join(re.sub(r":(?!\d{1,5}$)[^\]]+$", f":{MASK}", host) for host in hosts.split(","))
    return f"{credentials}{at}{hosts}{_mask_tail(separator + tail)}"


def _split_netloc(rest: str) -> tuple[str, str, str]:
    match = re.search(r"[/?#]", rest)
    return (rest, "", "") if match is None else (rest[: match.start()], match[0], rest[match.end() :])


def _mask_tail(tail: str) -> str:
    path, mark, query = tail.partition("?")
    return f"{path}{mark}{'&'.join(map(_mask_parameter, query.split('&')))}" if mark else path


def _mask_parameter(parameter: str) -> str:
    key, equals, _ = parameter.partition("=")
    name = unquote_plus(key).strip().lower()
    if equals and name in _SHOWN_PARAMETERS:
        return parameter
    return f"{name}={MASK}" if equals and name in _SECRET_PARAMETERS else MASK if parameter else ""


def _mask_pairs(text: str) -> str:
    shown: list[str] = []
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return MASK
        key = match["key"].lower()
        if key not in _SHOWN_PARAMETERS | _SECRET_PARAMETERS:
            return MASK
        shown.append(f"{key}={match['value'] if key in _SHOWN_PARAMETERS else MASK}")
        position = match.end()
    return " ".join(shown)


def dsn_password(dsn: str) -> str | None:
    """The password of a database address, decoded; None when there is none to be found."""
    try:
        parts = urlsplit(dsn.strip())
    except ValueError:
        return None
    if parts.scheme and parts.netloc:
        if parts.password:
            return unquote(parts.password)
        pairs = (pair.partition("=") for pair in parts.query.split("&"))
        values = (unquote_plus(value) for key, _, value in pairs if unquote_plus(key).lower() == "password")
    else:
        found = (match for match in _PAIR.finditer(dsn) if match["key"].lower() == "password")
        values = (
            re.sub(r"\\(.)", r"\1", match["value"].removeprefix("'").removesuffix("'")) for match in found
        )
    return next(filter(None, values), None)


_PROSE = (
    r"(?!\s+(?:a|an|and|add|ask|change|check|choose|correct|copy|delete|enter|every|give|it|its|let|look|make|no|"
    r"nobody|none|not|nothing|of|one|or|put|read|remove|run|see|set|take|that|the|their|there|they|this|to|try|"
    r"type|use|what|which|who|write|you|your)\b[ ,])"
)
"""No secret follows a colon or a comma when a sentence goes on with one of these words."""

# A log line may quote what anybody sent: every repetition that could be tried again at the next character
# is bounded, so that the time grows with the length and not with its square.
_IN_TEXT = (
    # user:password@ of any address; greedy, so that a password with an @ of its own is masked whole.
    re.compile(
        r"(?P<keep>\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@'\"]{0,100}:)[^\s'\"]{1,300}(?P<after>@)", re.IGNORECASE
    ),
    re.compile(
        rf"(?P<keep>\bauthorization\b['\"]?\s*[:=,]{_PROSE}\s*['\"]?)"
        r"(?:(?:bearer|basic|token)\s+)?[^\s'\",}]+(?P<after>)",
        re.IGNORECASE,
    ),
    # The word alone is common prose: a credential has at least eight characters, one of them a digit.
    re.compile(r"(?P<keep>\b(?:bearer|basic)\s+)(?=\S{0,300}\d)[\w.~+/=-]{8,}(?P<after>)", re.IGNORECASE),
    re.compile(
        r"(?P<keep>\b(?:\w*password|passwd|pwd|\w*secret|\w*token|api[_-]?key)\b['\"]?\s*"
        rf"(?:=|:{_PROSE})\s*)"
        r"(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[^\s&'\",;)}]+)(?P<after>)",
        re.IGNORECASE,
    ),
)


_CREDENTIALS = _IN_TEXT[1:3]
_CREDENTIALS_HINT = re.compile(r"authorization|bearer|basic", re.IGNORECASE)


def mask_credentials(text: str) -> str:
    """A text without what stands in it as a header for a login; all else is left as it is.

    For texts that are kept, as the output of a script: nothing of them may be lost to a guess.
    """
    if _CREDENTIALS_HINT.search(text) is None:
        return text
    for pattern in _CREDENTIALS:
        text = pattern.sub(rf"\g<keep>{MASK}\g<after>", text)
    return text


_HINT = re.compile(r"://|authorization|bearer|basic|passw|pwd|secret|token|api[_-]?key", re.IGNORECASE)
"""Each of these patterns wants one of these words: most values of log lines hold none, and are done with."""


def mask_text(text: str) -> str:
    """A text without what looks like a password or a token: addresses, headers, ``password=`` pairs."""
    # One search instead of four: this is done for every line of the log.
    if _HINT.search(text) is None:
        return text
    for pattern in _IN_TEXT:
        text = pattern.sub(rf"\g<keep>{MASK}\g<after>", text)
    return text
