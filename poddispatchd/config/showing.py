"""The effective configuration as people write it, without its secrets."""

from typing import cast

import yaml
from pydantic import BaseModel, SecretStr

from poddispatchd.config.masking import MASK, mask_dsn
from poddispatchd.config.model import Settings

__all__ = ["mask_dsn", "settings_as_dict", "settings_as_yaml"]


def settings_as_dict(settings: Settings) -> dict[str, object]:
    """Plain data for JSON or YAML: units as people write them, every secret masked.

    ``database.dsn`` keeps what is no secret in it; any other secret is ``***`` when it is set.
    """
    return _plain(settings)


def _plain(model: BaseModel) -> dict[str, object]:
    plain = cast("dict[str, object]", model.model_dump(mode="json"))
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            plain[name] = _plain(value)
        elif isinstance(value, SecretStr):
            secret = value.get_secret_value()
            plain[name] = mask_dsn(secret) if name == "dsn" else MASK if secret else ""
    return plain


def settings_as_yaml(settings: Settings) -> str:
    """The text of ``config show``: a ``config.yaml`` that says everything, with masked secrets."""
    return yaml.safe_dump(
        settings_as_dict(settings), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
