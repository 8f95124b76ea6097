"""What a request to a runner manager failed with, as an error of ours that says what to do."""

import errno
import os
import socket
from typing import Literal
from urllib.parse import urlsplit

import aiohttp

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import (
    AnswerLostError,
    PoddispatchdError,
    RunnerManagerError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
)
from poddispatchd.runner.names import looks_up

Method = Literal["GET", "POST"]

CONNECT_TIMEOUT = 10.0
"""Seconds for DNS, TCP and TLS together."""

_AFTER_SECONDS = (errno.EHOSTUNREACH, errno.ETIMEDOUT, socket.EAI_AGAIN)
"""How the system calls it when no other machine answered."""

_NOT_BY_THE_RULES = range(80, 95)
"""OpenSSL's codes of what RFC 5280 does not allow, as X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER."""

FAILURES = (aiohttp.ClientError, TimeoutError, OSError)
"""What a request fails with."""


def named(error: Exception, manager: RunnerManager, method: Method) -> RunnerManagerError:
    """Our error for what aiohttp raised, by whether the request can have been carried out."""
    name = repr(manager.name)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return RunnerManagerMisconfiguredError(
                f"The TLS certificate of runner manager {name} {_certificate_words(error)}."
            )
        case aiohttp.ClientConnectorSSLError():
            # A server without TLS answers the handshake with something else; anything else may pass.
            if "WRONG_VERSION_NUMBER" in str(error):
                return RunnerManagerMisconfiguredError(
                    f"Runner manager {name} does not speak TLS at its address: "
                    "its URL should start with http://."
                )
            return RunnerManagerUnavailableError(f"TLS with runner manager {name} failed.")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return RunnerManagerUnavailableError(
                f"Runner manager {name} cannot be reached: {_connect_words(error, manager)}."
            )
        case aiohttp.InvalidURL():
            return RunnerManagerMisconfiguredError(f"The URL of runner manager {name} cannot be used.")
        case aiohttp.ClientResponseError():
            # Not HTTP, or headers beyond all limits: the request has been sent by then.
            return _lost(method, f"Runner manager {name} did not answer in HTTP.")
        case TimeoutError():
            return _lost(method, f"Runner manager {name} did not answer in time.")
        case aiohttp.ClientError() | OSError():
            return _lost(method, f"Runner manager {name} did not answer before the connection broke.")
        case _:
            words = f"met an error nobody foresaw ({type(error).__name__}): the log tells more"
            return _lost(method, f"The request to runner manager {name} {words}.")


def is_silent(error: PoddispatchdError) -> bool:
    """Whether nobody answered who could have refused a connection: that shows after seconds only."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError):
        return cause.errno in _AFTER_SECONDS
    return isinstance(cause, aiohttp.ConnectionTimeoutError)


def unforeseen(error: PoddispatchdError | None) -> BaseException | None:
    """What no words of ours tell of, behind an error of a request: its traceback belongs in the log."""
    if not isinstance(error, RunnerManagerUnavailableError) or isinstance(error.__cause__, FAILURES):
        return None
    return error.__cause__


def _lost(method: Method, message: str) -> RunnerManagerUnavailableError:
    match method:
        case "GET":
            return RunnerManagerUnavailableError(message)
        case "POST":
            return AnswerLostError(message)


def _certificate_words(error: aiohttp.ClientConnectorCertificateError) -> str:
    """What is wrong with a certificate, and what to do."""
    found = error.certificate_error
    reason = str(getattr(found, "verify_message", None) or "verification failed").rstrip(".")
    match getattr(found, "verify_code", None):
        case 9:  # X509_V_ERR_CERT_NOT_YET_VALID
            return "is not valid yet: the clock of this machine, or of the one that made it, is wrong"
        case 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            return (
                "has expired, or that of an authority which signed it: renew it there, or correct the clock "
                "of this machine"
            )
        case 62 | 64:  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return (
                f"is for another host ({reason}): put a name that it holds into the manager's URL in Pod's "
                "administration, or have one made for this name"
            )
        case int(code) if code in _NOT_BY_THE_RULES:
            return (
                f"is not made as RFC 5280 asks, or that of its authority is not ({reason}), which Python "
                "refuses since 3.13: have it made anew"
            )
        case _:
            return (
                f"is not trusted ({reason}): if a private authority signed it, set runners.ca_file to that "
                "authority's certificate"
            )


def _connect_words(
    error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError, manager: RunnerManager
) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        if looks_up(urlsplit(manager.url).hostname):
            return f"the name servers do not tell the address of its host within {CONNECT_TIMEOUT:g} s"
        return f"no connection within {CONNECT_TIMEOUT:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if error.errno == socket.EAI_AGAIN:
            return "the name servers do not tell the address of its host"
        return "its host name is not known"
    # Its text has the address in the form of Python's.
    reason = "the connection failed" if error.errno is None else os.strerror(error.errno).lower()
    return f"{reason} ({error.host}:{error.port})"
