"""Why no connection to PostgreSQL came about: in words that say what to change, and in which of our errors.

What only a person can change on this machine ends the start. Everything else is waited for: certificates of
the server, and the server itself, are renewed by others. While a daemon runs all of it is waited for, since
files are replaced and passwords changed.
"""

import configparser
import os
import socket
import ssl

import asyncpg
from msgspec import Struct

from poddispatchd.database.hosts import OVERTAKEN, NoHostError, NotWritableError, OvertakenError, hosts_of
from poddispatchd.database.services import asked, parameter, service_file, service_of
from poddispatchd.database.sqlstates import (
    DRIVER_ERRORS,
    first_line,
    os_words,
    printable,
    translate_connecting,
)
from poddispatchd.domain.certificates import Remedies, words_of
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError

CONNECT_ERRORS = (*DRIVER_ERRORS, ValueError, configparser.Error)
"""Everything that the driver raises while a connection begins."""

_REFUSED = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.exceptions.ClientConfigurationError,
)

_UNKNOWN_PARAMETERS = (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError)
"""What PostgreSQL says to a parameter of an address that is one of libpq's alone, or has no such value."""

_FILES = {
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
"""Parameters that name a file, and the variables that do so in their place."""


class Setting(Struct, frozen=True):
    """Where an address comes from, for whoever has to correct it.

    Args:
        name: of the setting, or of the option: "correct …".
        password: what helps where the role or its password is refused.
    """

    name: str
    password: str

    @property
    def remedies(self) -> Remedies:
        """What can be done here about a certificate of the server."""
        return Remedies(
            name=f"put a name that it holds into {self.name}", authority=f"set sslrootcert in {self.name} to"
        )


DSN = Setting(
    "database.dsn",
    # PostgreSQL says so of a role that it does not have, too.
    "write the right one there, or give the role this one (ALTER ROLE … PASSWORD); "
    "where there is no such role yet, 'poddispatchd db setup' makes it",
)
"""The one that the daemon goes by."""


class UnusableFileError(OSError):
    """A certificate or a key that would be waited for, or read, without an end."""

    def __init__(self, name: str, path: str, why: str) -> None:
        super().__init__(f"{name}: {printable(path)} cannot be used ({why[:1].lower()}{why[1:]})")


_GOES_BY_ITS_START = (
    "write the right one into database.dsn and restart the daemon, which goes by the one of its start, or "
    "give the role that one again (ALTER ROLE … PASSWORD)"
)

_OLD_TLS = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")

_ATTRIBUTES = "target_session_attrs must be any, primary, read-write, standby, prefer-standby or read-only"

_SYSTEM = "/etc/ssl/certs/ca-certificates.crt"

_NOT_AN_ADDRESS = "it is not a PostgreSQL address (postgresql://user@host/name)"


def at_the_start(
    error: BaseException, dsn: SecretStr, setting: Setting = DSN
) -> ConfigurationError | DatabaseError:
    """The error of ours for one of ``CONNECT_ERRORS`` before there was any connection."""
    words = _to_be_changed_here(error, dsn, setting)
    if words is None:
        return while_running(error, dsn, setting)
    return ConfigurationError(f"{setting.name}: {words}.")


def while_running(error: BaseException, dsn: SecretStr, setting: Setting = DSN) -> DatabaseError:
    """The same once there was one: nothing of it ends the daemon."""
    words = _to_be_changed_there(error, setting) or _where(error, dsn.get_secret_value())
    if words is None and isinstance(error, asyncpg.InvalidPasswordError):
        return DatabaseUnavailableError(
            f"{str(translate_connecting(error)).rstrip('.')}: {_GOES_BY_ITS_START}."
        )
    if words is None and not isinstance(error, asyncpg.PostgresError):
        words = _to_be_changed_here(error, dsn, setting)
    if words is None:
        return translate_connecting(error)
    return DatabaseUnavailableError(f"The database cannot be reached: {words}.")


def _to_be_changed_here(error: BaseException, dsn: SecretStr, setting: Setting) -> str | None:
    """What somebody must change on this machine; None where it is no matter of ours."""
    if isinstance(error, _REFUSED):
        words = first_line(error)
        if isinstance(error, asyncpg.InvalidPasswordError):
            return f"{words}: {setting.password}"
        # The driver's words for this have the inner life of Python in them.
        return _ATTRIBUTES if words.startswith("target_session_attrs") else words
    if isinstance(error, _UNKNOWN_PARAMETERS):
        return f"{first_line(error)}: the server knows none such, so take it out (some are libpq's own)"
    if isinstance(error, configparser.Error):
        return _bad_services(error, setting)
    if isinstance(error, (NoHostError, ssl.SSLCertVerificationError)):
        return None
    if isinstance(error, PermissionError) and ".postgresql" in str(error.filename):
        return (
            f"the client's certificate {error.filename} cannot be read by this user: set HOME to a directory "
            "that it can read, or none"
        )
    if isinstance(error, UnusableFileError):
        return str(error)
    if isinstance(error, OSError):
        return _about_files(error, dsn) or _unknown_service(dsn.get_secret_value())
    return _NOT_AN_ADDRESS if isinstance(error, ValueError) else None


def _about_files(error: OSError, dsn: SecretStr) -> str | None:
    """What is wrong with a certificate or a key of ours; None where the error is not about one."""
    if isinstance(error, ssl.SSLError):
        if error.library == "SSL" or not error.library:
            return None
        if error.reason == "KEY_VALUES_MISMATCH":
            return "sslkey is not the key of sslcert"
        named = " or ".join(files_of(dsn.get_secret_value())) or "~/.postgresql"
        return f"{named} holds no certificate or key that can be used ({_reason(error)})"
    if not isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return None
    for name, path in files_of(dsn.get_secret_value()).items():
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as why:
            if path == "system":
                return f"{name}=system is not known here, name a file ({_SYSTEM} in Debian)"
            return f"{name}: {printable(path)} cannot be read ({os_words(why).lower()})"
        if isinstance(error, IsADirectoryError) and os.path.isdir(path):  # noqa: PTH112 - a name of any form
            return f"{name}: {printable(path)} is a directory, and must be a file"
    return None


def files_of(dsn: str) -> dict[str, str]:
    """The files that an address, or the environment, names for TLS, by their parameters."""
    found = {name: asked(dsn, name, variable) for name, variable in _FILES.items()}
    return {name: path for name, path in found.items() if path}


def _bad_services(error: configparser.Error, setting: Setting) -> str:
    """What is wrong with a file of services; its lines may be secrets."""
    path = printable(str(service_file()))
    if isinstance(error, configparser.InterpolationError):
        return (
            f"the driver takes a % in {path} for more than a character: give a password with one in "
            f"{setting.name} itself (as %25), or in ~/.pgpass"
        )
    return f"{path} is no file of services: a line of it is no [name], name=value or comment, or comes twice"


def _unknown_service(dsn: str) -> str | None:
    """That the address names a service which is in no file: the driver takes what it has without it."""
    if service_of(dsn) is not None:
        return None
    service, path = parameter(dsn, "service"), service_file()
    return f"its service {printable(service)} is not in {printable(str(path))} (PGSERVICEFILE names another)"


def _where(error: BaseException, dsn: str) -> str | None:
    """What the system says of a place that it does not name: a socket, or a host."""
    hosts = hosts_of(dsn)
    if len(hosts) != 1 or not isinstance(error, OSError) or isinstance(error, (TimeoutError, ssl.SSLError)):
        return None
    [place] = hosts
    if place.host.startswith("/"):
        port = place.port or os.environ.get("PGPORT") or 5432
        return f"{os_words(error).lower()} ({printable(place.host)}/.s.PGSQL.{port})"
    return f"{os_words(error)} ({printable(place.host)})" if isinstance(error, socket.gaierror) else None


def _to_be_changed_there(error: BaseException, setting: Setting) -> str | None:
    """What somebody must change at the server, as far as it is TLS or what its address asks for."""
    match error:
        case UnusableFileError():
            return str(error)
        case asyncpg.InsufficientPrivilegeError() | asyncpg.ProtocolViolationError():
            return _refused_there(error, setting)
        case NotWritableError():
            return (
                "its server cannot be written to, as target_session_attrs asks: wait for the switch-over, or "
                f"correct {setting.name}"
            )
        case NoHostError():
            return "; ".join(f"{host}: {_reason_of(each, setting)}" for host, each in error.met)
        case ssl.SSLCertVerificationError():
            return f"the certificate of its server {words_of(error, setting.remedies)}"
        case ssl.SSLError() if error.reason in _OLD_TLS:
            return "its server speaks no TLS that is still in use: let it speak TLS 1.2 or later"
        case ssl.SSLError() if "ALERT" in (reason := error.reason or "") and _is_about_ours(reason):
            return (
                f"its server does not take our certificate ({_reason(error)}): see sslcert in {setting.name}"
            )
        case ssl.SSLError() if error.library == "SSL":
            return f"TLS with its server failed ({_reason(error)})"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return (
                f"its server takes no TLS, and sslmode in {setting.name} asks for it: turn ssl on there, or "
                "take sslmode out where nobody can listen on the way"
            )
        case asyncpg.ConnectionDoesNotExistError() if isinstance(error.__cause__, ssl.SSLError):
            # In TLS 1.3 the server looks at our certificate after the handshake.
            return _to_be_changed_there(error.__cause__, setting)
        case asyncpg.exceptions.TargetServerAttributeNotMatched():
            return f"none of its servers is what target_session_attrs in {setting.name} asks for"
        case _:
            return None


def _refused_there(error: asyncpg.PostgresError, setting: Setting) -> str | None:
    """What helps where a server, or a pooler before it, refuses the role, or a parameter of the address."""
    words = first_line(error)
    if isinstance(error, asyncpg.ProtocolViolationError):
        if not words.startswith("unsupported startup parameter"):
            return None
        return (
            f"{words}: PgBouncer passes none such on, so take it out of {setting.name}, and let a DBA set it "
            "for the role or the database (ALTER ROLE … SET, ALTER DATABASE … SET)"
        )
    # One code for all rights that lack, and the words are in the server's language.
    if error.server_source_filename == "guc.c":
        return (
            f"{words}: take it out of {setting.name} and PGOPTIONS, or let a superuser set it for the role "
            "(ALTER ROLE … SET)"
        )
    if setting != DSN:  # the command that would be named here is the one that goes there
        return f"{words}: the owner of the database lets the role connect (GRANT CONNECT ON DATABASE)"
    return (
        f"{words}: 'poddispatchd db setup' lets the role connect, or the owner of the database does "
        "(GRANT CONNECT ON DATABASE)"
    )


def _reason_of(error: BaseException, setting: Setting) -> str:
    """Why one of several servers is not used, without a full stop."""
    if isinstance(error, NotWritableError):
        return "cannot be written to"
    if isinstance(error, OvertakenError):
        return OVERTAKEN
    words = _to_be_changed_there(error, setting) or str(translate_connecting(error))
    return words.removeprefix("The database cannot be reached: ").rstrip(".")


def _is_about_ours(alert: str) -> bool:
    return "CERTIFICATE" in alert or alert.endswith(("UNKNOWN_CA", "ACCESS_DENIED"))


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's name of what happened; its text has places of its source in it."""
    return str(error.reason or "no reason given").replace("_", " ").lower()
