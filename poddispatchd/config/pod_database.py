"""Django's ``DATABASES`` as an address of PostgreSQL."""

from collections.abc import Mapping
from itertools import zip_longest
from urllib.parse import quote

from msgspec import Struct

from poddispatchd.config.literals import Unreadable

_TAKEN_OVER = frozenset(
    {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "target_session_attrs", "passfile", "options"}
)
"""Entries of OPTIONS (parameters of libpq) that mean the same in our address."""

_WITHOUT_MEANING = frozenset(
    {"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
     "application_name", "client_encoding", "isolation_level", "pool", "server_side_binding",
     "assume_role", "cursor_factory", "prepare_threshold", "fallback_application_name"}
)  # fmt: skip
"""Entries that say how Django uses its connections; ours are used in our own way."""


class DatabaseAddress(Struct, frozen=True):
    """``dsn`` as far as it could be read, None when nothing useful is left; ``notes`` want a look."""

    dsn: str | None
    notes: tuple[str, ...] = ()


def database_address(databases: object) -> DatabaseAddress:
    """The address of Pod's database, ``DATABASES['default']``.

    A password that cannot be read is left out and named, for the rest of the address is right without it.
    A host, a name or a user that cannot be read would make another address: then there is none.
    """
    if databases is None:
        return DatabaseAddress(None, ("DATABASES is not set here: set database.dsn yourself.",))
    default = databases.get("default") if isinstance(databases, dict) else None
    if isinstance(default, Unreadable):
        return DatabaseAddress(
            None, (f"DATABASES could not be read ({default.why}): set database.dsn yourself.",)
        )
    if not isinstance(default, dict):
        return DatabaseAddress(None, ("DATABASES: it has no 'default': set database.dsn yourself.",))
    engine = default.get("ENGINE", "")
    if not isinstance(engine, Unreadable) and "postg" not in str(engine):
        return DatabaseAddress(
            None,
            (f"DATABASES: poddispatchd works on PostgreSQL only, and this Pod uses {engine or 'nothing'}.",),
        )
    lost = {
        name: value.why
        for name in ("HOST", "PORT", "NAME", "USER")
        if isinstance(value := default.get(name), Unreadable)
    }
    if lost:
        read = ", ".join(f"{name} {default[name]}" for name in ("HOST", "PORT", "NAME", "USER")
                         if default.get(name) and name not in lost)  # fmt: skip
        why = "; ".join(f"{name}: {words}" for name, words in lost.items())
        return DatabaseAddress(
            None, (f"DATABASES could not be read ({why}): set database.dsn yourself; read was {read}.",)
        )
    notes = []
    password = default.get("PASSWORD")
    if isinstance(password, Unreadable):
        notes.append(
            f"DATABASES: PASSWORD could not be read ({password.why}): database.dsn was written without it. "
            "Add it there, as postgresql://user:password@host/name, or give the whole address as the "
            "credential database.dsn."
        )
        password = None
    parameters, more = _options(default.get("OPTIONS"))
    return DatabaseAddress(_dsn(default, password, parameters), (*notes, *more))


def _options(options: object) -> tuple[dict[str, str], list[str]]:
    """The parameters to take over from OPTIONS, and a note for each that could matter and cannot be."""
    if options is None:
        return {}, []
    if not isinstance(options, dict):
        why = f" ({options.why})" if isinstance(options, Unreadable) else ""
        return {}, [
            f"DATABASES: OPTIONS could not be read{why}: if it sets sslmode or certificates, "
            "add them to database.dsn, as ?sslmode=require."
        ]
    taken: dict[str, str] = {}
    notes = []
    for name, value in options.items():
        if name in _WITHOUT_MEANING:
            continue
        if isinstance(value, Unreadable):
            notes.append(
                f"DATABASES: OPTIONS {name} could not be read ({value.why}): add it to database.dsn."
            )
        elif name == "sslrootcert" and value == "system":
            notes.append(
                "DATABASES: OPTIONS sslrootcert is 'system', which database.dsn does not know: add the file, "
                "as ?sslrootcert=/etc/ssl/certs/ca-certificates.crt."
            )
        elif name in _TAKEN_OVER and isinstance(value, (str, int)):
            taken[str(name)] = str(value)
        else:
            notes.append(f"DATABASES: OPTIONS {name} was not taken over: see whether database.dsn needs it.")
    return taken, notes


def _dsn(default: Mapping[object, object], password: object, parameters: dict[str, str]) -> str:
    user, secret = (quote(str(value or ""), safe="") for value in (default.get("USER"), password))
    login = f"{user}:{secret}@" if secret else f"{user}@" if user else ""
    host, port = str(default.get("HOST") or ""), str(default.get("PORT") or "")
    if host.startswith("/"):
        # A directory of sockets has no place in the middle of an address.
        parameters = {"host": host, **({"port": port} if port else {}), **parameters}
        host, port = "", ""
    name = quote(str(default.get("NAME") or ""), safe="")
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in parameters.items())
    return f"postgresql://{login}{_places(host, port)}/{name}{f'?{query}' if query else ''}"


def _places(host: str, port: str) -> str:
    """The servers of an address. libpq takes several, each with the port at its place, or all with one."""
    hosts, ports = host.split(","), port.split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return ",".join(
        (f"[{name}]" if ":" in name else name) + (f":{own}" if own else "")
        for name, own in zip_longest((each.strip() for each in hosts), ports[: len(hosts)], fillvalue="")
    )


def without_password(dsn: str) -> str:
    """An address of a database for everybody to see."""
    scheme, _, rest = dsn.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}{at}{place}"
