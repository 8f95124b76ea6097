"""The effective configuration as people write it, without its secrets."""

import yaml

from poddispatchd.config.masking import MASK, mask_dsn, mask_text
from poddispatchd.config.model import Settings
from poddispatchd.config.section import Section, fields_of
from poddispatchd.config.validation import write_value
from poddispatchd.domain.secret import SecretStr

__all__ = ["mask_dsn", "settings_as_dict", "settings_as_yaml"]


def settings_as_dict(settings: Settings) -> dict[str, object]:
    """Plain data for JSON or YAML: units as people write them, every secret masked.

    ``database.dsn`` keeps what is no secret in it; any other secret is ``***`` when it is set, and so is what
    looks like one among the arguments of a command.
    """
    return _plain(settings)


def _plain(section: Section) -> dict[str, object]:
    plain: dict[str, object] = {}
    for field in fields_of(type(section)):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            plain[field.name] = _plain(value)
        elif isinstance(value, SecretStr):
            secret = value.get_secret_value()
            plain[field.name] = mask_dsn(secret) if field.name == "dsn" else MASK if secret else ""
        else:
            written = write_value(field.annotation, value)
            # An argument of a command may be a password, or an address with one.
            plain[field.name] = [_masked(item) for item in written] if isinstance(written, list) else written
    return plain


def _masked(item: object) -> object:
    return mask_text(item) if isinstance(item, str) else item


def settings_as_yaml(settings: Settings, *, unicode: bool = True) -> str:
    """The text of ``config show``: a ``config.yaml`` that says everything, with masked secrets.

    ``unicode``: it may hold more than ASCII.
    """
    return yaml.safe_dump(
        settings_as_dict(settings), sort_keys=False, allow_unicode=unicode, default_flow_style=None, width=100
    )
