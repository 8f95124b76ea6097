"""What a request to a runner manager failed with, as an error of ours that says what to do."""

import errno
import os
import socket
from typing import Literal
from urllib.parse import urlsplit

import aiohttp

from poddispatchd.domain.certificates import Remedies, words_of
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import (
    AnswerLostError,
    PoddispatchdError,
    RunnerManagerError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
)
from poddispatchd.runner.name_lookup import looks_up

Method = Literal["GET", "POST"]

CONNECT_TIMEOUT = 10.0
"""Seconds for DNS, TCP and TLS together."""

_AFTER_SECONDS = (errno.EHOSTUNREACH, errno.ETIMEDOUT, socket.EAI_AGAIN)
"""How the system calls it when no other machine answered."""

_REMEDIES = Remedies(
    name="put a name that it holds into the manager's URL in Pod's administration",
    authority="set runners.ca_file to",
)

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""OpenSSL's reasons where a server answers the handshake with something else; the second since 3.4."""

_OLD_TLS = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")
"""Its reasons where a server knows no version of TLS that we use."""

FAILURES = (aiohttp.ClientError, TimeoutError, OSError)
"""What a request fails with."""


def named(error: Exception, manager: RunnerManager, method: Method) -> RunnerManagerError:
    """Our error for what aiohttp raised, by whether the request can have been carried out."""
    name = repr(manager.name)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            words = words_of(error.certificate_error, _REMEDIES)
            return RunnerManagerMisconfiguredError(f"The TLS certificate of runner manager {name} {words}.")
        case aiohttp.ClientConnectorSSLError():
            return _without_tls(error, name)
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return RunnerManagerUnavailableError(
                f"Runner manager {name} cannot be reached: {_connect_words(error, manager)}."
            )
        case aiohttp.InvalidURL():
            return RunnerManagerMisconfiguredError(f"The URL of runner manager {name} cannot be used.")
        case aiohttp.ClientResponseError():
            # Not HTTP, or headers beyond all limits: the request has been sent by then.
            hint = ", as one that speaks TLS there: then its URL should start with https://"
            hint = hint if manager.url.startswith("http:") else ""
            return _lost(method, f"Runner manager {name} did not answer in HTTP{hint}.")
        case TimeoutError():
            return _lost(method, f"Runner manager {name} did not answer in time.")
        case aiohttp.ClientError() | OSError():
            return _lost(method, f"Runner manager {name} did not answer before the connection broke.")
        case _:
            words = f"met an error nobody foresaw ({type(error).__name__}): the log tells more"
            return _lost(method, f"The request to runner manager {name} {words}.")


def _without_tls(error: aiohttp.ClientConnectorSSLError, name: str) -> RunnerManagerError:
    """Why no TLS came about; what is not known to be a setting may pass."""
    reason = getattr(error.os_error, "reason", None) or ""
    if reason in _NO_TLS:
        return RunnerManagerMisconfiguredError(
            f"Runner manager {name} does not speak TLS at its address: its URL should start with http://."
        )
    if reason in _OLD_TLS:
        return RunnerManagerMisconfiguredError(
            f"Runner manager {name} speaks no TLS that is still in use: let its web server speak TLS 1.2 or "
            "later."
        )
    told = f" ({reason.replace('_', ' ').lower()})" if reason else ""
    return RunnerManagerUnavailableError(f"TLS with runner manager {name} failed{told}.")


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
    if isinstance(error.os_error, socket.gaierror):
        reason = (error.os_error.strerror or "its address cannot be used").lower()
    else:
        reason = "the connection failed" if error.errno is None else os.strerror(error.errno).lower()
    return f"{reason} ({error.host}:{error.port})"
