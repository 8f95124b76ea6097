"""What is wrong with a certificate of another server, and what to do about it."""

from msgspec import Struct

_NOT_BY_THE_RULES = range(80, 95)
"""OpenSSL's codes of what RFC 5280 does not allow, as X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER."""


class Remedies(Struct, frozen=True):
    """What can be done on our side.

    Args:
        name: about a certificate of another host: ``put a name that it holds into events.url``.
        authority: where an authority is not trusted: ``set runners.ca_file to``; a certificate follows.
    """

    name: str
    authority: str


def words_of(error: object, remedies: Remedies) -> str:
    """The same for an error of Python's (``ssl.SSLCertVerificationError``)."""
    code, message = getattr(error, "verify_code", None), getattr(error, "verify_message", None)
    return certificate_words(code, message, remedies)


def certificate_words(code: object, message: object, remedies: Remedies) -> str:
    """What follows ``the certificate of …``, without a full stop.

    Args:
        code: OpenSSL's (``verify_code``); None where it is not known.
        message: OpenSSL's name of that (``verify_message``), which may hold the name of the host.
        remedies: what can be done here.
    """
    reason = str(message or "verification failed").rstrip(".")
    match code:
        case 9:  # X509_V_ERR_CERT_NOT_YET_VALID
            return "is not valid yet: the clock of this machine, or of the one that made it, is wrong"
        case 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            return (
                "has expired, or that of an authority which signed it: renew it there, or correct the clock "
                "of this machine"
            )
        case 62 | 64:  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return f"is for another host ({reason}): {remedies.name}, or have one made for this name"
        case int() if code in _NOT_BY_THE_RULES:
            return (
                f"is not made as RFC 5280 asks, or that of its authority is not ({reason}), which Python "
                "refuses since 3.13: have it made anew"
            )
        case 18:  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
            return f"is not trusted ({reason}): {remedies.authority} that certificate itself"
        case 20 | 21:  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, …_TO_VERIFY_LEAF_SIGNATURE
            return (
                f"is not trusted ({reason}): {remedies.authority} the certificate of its authority, and have "
                "the server send those between them, too, if there are any (often fullchain.pem)"
            )
        case _:
            return (
                f"is not trusted ({reason}): if a private authority signed it, {remedies.authority} that "
                "authority's certificate"
            )
