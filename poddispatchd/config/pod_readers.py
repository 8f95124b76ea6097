"""Which of Pod's settings poddispatchd has as well, and how their values are written here."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from poddispatchd.config.keys import KeyPath


class UnusableError(Exception):
    """A value that has no place in our configuration; the words say why."""


class Reader(Struct, frozen=True):
    """Where a setting goes; ``convert`` may say ``ABSENT``, or raise ``UnusableError``."""

    key: KeyPath
    convert: Callable[[object], object]


ABSENT = object()
"""Says that a value is no reason to set anything."""


def _same(value: object) -> object:
    return value


def _inside(name: str) -> Callable[[object], object]:
    def convert(value: object) -> object:
        return value.get(name, ABSENT) if isinstance(value, dict) else ABSENT

    return convert


def _french(value: object) -> object:
    """Our words are in French besides the English that is the default."""
    return "fr" if isinstance(value, str) and value.partition("-")[0] == "fr" else ABSENT


def _mode(value: object) -> object:
    return f"{value:04o}" if isinstance(value, int) else value


def _days_kept(value: object) -> object:
    """Pod keeps all where the number is none, or not a positive one."""
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0


def _directory_url(value: object) -> object:
    return f"{str(value).rstrip('/')}/"


def _first_of_each(value: object) -> object:
    """The codes of Django's choices."""
    if not isinstance(value, list):
        raise UnusableError("it is no list of choices: set it yourself.")
    return [str(item[0]) if isinstance(item, list) and item else str(item) for item in value]


def _fallbacks(value: object) -> object:
    """The languages that stand in for all others; a site can name others for some of them."""
    return value.get("default", ABSENT) if isinstance(value, dict) else value


def _addresses(value: object) -> object:
    """The addresses of Django's (name, address) pairs."""
    if not isinstance(value, list):
        raise UnusableError("it is no list of people: set it yourself.")
    people = [_each(item[1]) if isinstance(item, list) and len(item) == 2 else [str(item)] for item in value]
    return [address for addresses in people for address in addresses]


def _by_establishment(value: object) -> object:
    pairs = [item for item in value if isinstance(item, list)] if isinstance(value, list) else []
    grouped: dict[str, list[str]] = {}
    for pair in pairs:
        if len(pair) == 2:
            grouped.setdefault(str(pair[0]).lower(), []).extend(_each(pair[1]))
    return grouped or ABSENT


def _each(value: object) -> list[str]:
    """One address or several: Pod takes both from an establishment."""
    return [str(address) for address in value] if isinstance(value, list) else [str(value)]


def _security(wanted: str) -> Callable[[object], object]:
    def convert(value: object) -> object:
        return wanted if value is True else ABSENT

    return convert


def _one(key: str, convert: Callable[[object], object] = _same) -> list[Reader]:
    section, _, name = key.partition(".")
    return [Reader((section, name), convert)]


READERS: Mapping[str, list[Reader]] = {
    "VERSION": _one("pod.version"),
    "SITE_ID": _one("pod.site_id"),
    "SECURE_SSL_REDIRECT": _one("pod.https"),
    "TEMPLATE_VISIBLE_SETTINGS": [
        *_one("pod.title_site", _inside("TITLE_SITE")),
        *_one("pod.title_etb", _inside("TITLE_ETB")),
    ],
    "MEDIA_ROOT": _one("pod.media_root"),
    "MEDIA_URL": _one("pod.media_url", _directory_url),
    "VIDEOS_DIR": _one("pod.videos_dir"),
    "FILES_DIR": _one("pod.files_dir"),
    "OPENCAST_FILES_DIR": _one("pod.opencast_files_dir"),
    "FILE_UPLOAD_PERMISSIONS": _one("pod.file_permissions", _mode),
    "USE_PODFILE": _one("pod.use_podfile"),
    "USE_TRANSCRIPTION": _one("pod.use_transcription"),
    "TRANSCRIPTION_TYPE": _one("pod.transcription_type"),
    "TRANSCRIPTION_NORMALIZE": _one("pod.transcription_normalize"),
    "CAPTIONS_STRICT_ACCESSIBILITY": _one("pod.captions_strict_accessibility"),
    "LANGUAGE_CODE": [*_one("pod.language"), *_one("pod.output_language", _french)],
    "MODELTRANSLATION_FALLBACK_LANGUAGES": _one("pod.languages", _fallbacks),
    "TIME_ZONE": _one("pod.time_zone"),
    "ENCODING_CHOICES": _one("pod.encoding_choices", _first_of_each),
    "ACCOMMODATION_YEARS": _one("pod.accommodation_years"),
    "DEFAULT_YEAR_DATE_DELETE": _one("pod.default_year_date_delete"),
    "RM_TASKS_DELETED_AFTER_DAYS": _one("retention.completed_days", _days_kept),
    "EMAIL_HOST": _one("mail.host"),
    "EMAIL_PORT": _one("mail.port"),
    "EMAIL_USE_TLS": _one("mail.security", _security("starttls")),
    "EMAIL_USE_SSL": _one("mail.security", _security("tls")),
    "EMAIL_HOST_USER": _one("mail.username"),
    "EMAIL_HOST_PASSWORD": _one("mail.password"),
    "DEFAULT_FROM_EMAIL": _one("mail.from_email"),
    "SERVER_EMAIL": _one("mail.server_email"),
    "EMAIL_SUBJECT_PREFIX": _one("mail.subject_prefix"),
    "ADMINS": _one("mail.admins", _addresses),
    "MANAGERS": [
        *_one("mail.managers", _addresses),
        *_one("mail.establishment_managers", _by_establishment),
    ],
    "USE_ESTABLISHMENT_FIELD": _one("mail.use_establishment"),
    "EMAIL_ON_ENCODING_COMPLETION": _one("mail.on_encoding_completion"),
    "EMAIL_ON_TRANSCRIPTING_COMPLETION": _one("mail.on_transcripting_completion"),
    "DEBUG": _one("mail.debug"),
    "USE_NOTIFICATIONS": _one("push.enabled"),
    "WEBPUSH_SETTINGS": [
        *_one("push.vapid_public_key", _inside("VAPID_PUBLIC_KEY")),
        *_one("push.vapid_private_key", _inside("VAPID_PRIVATE_KEY")),
        *_one("push.admin_email", _inside("VAPID_ADMIN_EMAIL")),
    ],
}
"""Pod's settings by their name, and what becomes of them."""
