"""Signatures of what is posted to other programs, by Standard Webhooks (version 1, symmetric)."""

import base64
import binascii
import hashlib
import hmac

SHORTEST_KEY = 24
"""Bytes: what Standard Webhooks asks for at least."""

_PREFIX = "whsec_"


def signing_key(secret: str) -> bytes | None:
    """The key that a secret stands for: base64 behind ``whsec_``, else its own characters.

    Returns:
        None when it is too short, or no base64 behind the prefix.
    """
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return None
    else:
        key = secret.encode()
    return key if len(key) >= SHORTEST_KEY else None


def signature_headers(key: bytes | None, event_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of one message; without a key it is not signed.

    Args:
        key: what both sides know.
        event_id: names the message: a receiver drops one that it has had.
        at: when it is sent, in seconds since 1970: a receiver refuses an old one, which may be a recording.
        body: exactly the bytes that are sent.
    """
    headers = {"webhook-id": event_id, "webhook-timestamp": str(at)}
    if key is not None:
        # Id and moment are signed, too: an old message cannot be sent again as a new one.
        digest = hmac.new(
            key, b".".join((event_id.encode(), str(at).encode(), body)), hashlib.sha256
        ).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
