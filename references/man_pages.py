"""The man pages, made from the command line, the settings and the events."""

from collections.abc import Iterable, Iterator

from poddispatchd.config.example import shown_default
from poddispatchd.config.keys import KeyPath
from poddispatchd.config.loading import DEFAULT_PATH, variable
from poddispatchd.config.model import Settings
from poddispatchd.config.section import Section, fields_of
from poddispatchd.config.showing import settings_as_dict
from poddispatchd.observability.catalog import explanations
from references.command_tree import STATUSES, commands, paragraphs, program_options

_FILES = (
    (str(DEFAULT_PATH), "The configuration, see poddispatchd.yaml(5)."),
    ("/etc/systemd/system/poddispatchd.service", "The unit; media.conf in its drop-ins names MEDIA_ROOT."),
    (
        "/etc/systemd/system/poddispatchd-webhook.socket",
        "Keeps the webhook open while the daemon is restarted.",
    ),
)


def daemon_page() -> str:
    """The text of poddispatchd(8)."""
    lines = [
        *_head("poddispatchd", 8, "dispatches Esup-Pod's tasks to Esup-Runner, and imports their results"),
        ".SH SYNOPSIS",
        r".B poddispatchd",
        r"[\fB\-c\fR \fIconfig.yaml\fR] \fIcommand\fR [\fIoption\fR]... [\fIargument\fR]...",
        ".SH DESCRIPTION",
        *_paragraphs(
            "poddispatchd hands the encoding, transcription and studio tasks of Esup-Pod to runner managers, "
            "takes their callbacks, and imports the results into Pod's database and media tree. It replaces "
            "Pod's CRON line process_tasks and its webhook. Under systemd it runs as poddispatchd.service."
        ),
        ".SH OPTIONS",
        *_options(program_options()),
        ".SH COMMANDS",
    ]
    for command in commands():
        lines += [
            f".SS {_text(command.name)} {_text(command.usage)}",
            *_paragraphs("\n\n".join(command.paragraphs)),
            *_options(command.options),
        ]
    lines.append(".SH EXIT STATUS")
    for status, words in STATUSES:
        lines += _item(str(status), words)
    lines += [
        ".SH SIGNALS",
        *_item(
            "SIGTERM, SIGINT",
            "The daemon finishes what is past its commit point, hands back the rest, and ends.",
        ),
        *_item("SIGHUP", "The configuration is read again; a wrong one is refused, and told."),
        *_item("SIGUSR1, SIGUSR2", "Ignored, and logged."),
        ".SH FILES",
    ]
    for path, words in _FILES:
        lines += _item(path, words)
    lines += [
        ".SH EVENTS",
        *_paragraphs(
            "Each line of the log is one of these. In the journal they are found by the field EVENT=, and by "
            "POD_TASK_ID=, VIDEO_ID= and RUNNER_MANAGER=; journalctl --catalog shows these explanations."
        ),
    ]
    for event, words in explanations().items():
        lines += _item(event, words)
    lines += [".SH SEE ALSO", r".BR poddispatchd.yaml (5),", r".BR journalctl (1),", r".BR systemctl (1)"]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """The text of poddispatchd.yaml(5)."""
    lines = [
        *_head("poddispatchd.yaml", 5, "configuration of poddispatchd"),
        ".SH SYNOPSIS",
        ".I " + _text(str(DEFAULT_PATH)),
        ".SH DESCRIPTION",
        *_paragraphs(
            "A YAML file of sections with keys. Unknown keys are errors. Durations are written 30s, 5m, 2h "
            "or 60d, sizes 512B, 64KiB, 8MiB or 200GiB. 'poddispatchd check' finds what is wrong, "
            "'poddispatchd config show' prints what is in effect.\n\nStronger than the file: a systemd "
            "credential named <section>.<key> (LoadCredential=database.dsn:/path), and stronger still the "
            f"environment ({variable(('database', 'dsn'))})."
        ),
        *_settings(Settings, settings_as_dict(Settings()), ()),
        ".SH SEE ALSO",
        r".BR poddispatchd (8)",
    ]
    return "\n".join(lines) + "\n"


def _settings(section: type[Section], values: dict[str, object], at: KeyPath) -> Iterator[str]:
    for field in fields_of(section):
        name, inner, value = field.name, field.section, values[field.name]
        path = (*at, name)
        if inner is not None and isinstance(value, dict):
            yield f".SH {_text('.'.join(path)).upper()}"
            yield from _paragraphs(inner.__doc__ or "")
            yield from _settings(inner, value, path)
        else:
            yield from _item(".".join(path), f"{field.description}. Default: {shown_default(value)}")


def _options(options: Iterable[tuple[str, str]]) -> Iterator[str]:
    for option in options:
        yield from _item(*option)


def _head(name: str, section: int, words: str) -> list[str]:
    return [
        r".\" Made from the code: make references",
        f".TH {_text(name.upper())} {section}",
        # No hyphens that were not in a name or a path, and no wide gaps beside long ones.
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"{_text(name)} \- {_text(words)}",
    ]


def _item(term: str, words: str) -> list[str]:
    return [".TP", rf"\fB{_text(term)}\fR", _text(" ".join(words.replace("``", "").split()))]


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in paragraphs(text):
        yield ".PP"
        yield _text(paragraph.replace("``", ""))


def _text(text: str) -> str:
    """A text in which roff finds no request and no escape."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped[:1] in (".", "'") else escaped
