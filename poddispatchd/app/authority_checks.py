"""When authorities of the settings end, by their certificates: all that they have signed ends with them."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from poddispatchd.config.certificate_files import ends_in_file
from poddispatchd.config.model import Settings
from poddispatchd.database.connect_errors import files_of
from poddispatchd.domain import certificate_ends
from poddispatchd.domain.situation import Finding, Reason, Severity


def authority_findings(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Until when each file of authorities can be used: some of a bundle may have ended long ago.

    What cannot be read is told by whoever needs it.

    Args:
        settings: what is in effect.
        now: the moment.
    """
    for name, path in _files(settings):
        try:
            ends = ends_in_file(path)
        except OSError:
            continue
        if not ends:
            continue
        last = max(ends)
        which = "its certificate" if len(ends) == 1 else f"the last of its {len(ends)} certificates"
        words = f"{name}, {path}: {which} {certificate_ends.words_of(last, now)}"
        if certificate_ends.is_near(last, now):
            yield Finding(
                Reason.INSTALLATION,
                Severity.NOTICE,
                f"{words}, and whatever it vouches for is trusted no more then.",
                "Put that of the authority's next one there, too.",
            )
        else:
            yield Finding(Reason.INSTALLATION, Severity.NORMAL, f"{words}.")


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files by the names of their settings, as far as they are in use."""
    named = (
        ("runners.ca_file", settings.runners.ca_file, True),
        ("mail.ca_file", settings.mail.ca_file, settings.mail.enabled),
        ("events.ca_file", settings.events.ca_file, settings.events.enabled),
    )
    yield from ((name, path) for name, path, is_used in named if path is not None and is_used)
    if file := files_of(settings.database.dsn.get_secret_value()).get("sslrootcert"):
        yield "sslrootcert in database.dsn", Path(file)
