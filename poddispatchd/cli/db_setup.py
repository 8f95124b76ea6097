"""``db setup``: what the owner of Pod's database does once."""

import os
import pwd
from pathlib import Path
from urllib.parse import urlsplit

import click

from poddispatchd.cli.common import Context, asynchronous, commits_told, config_option, pass_context
from poddispatchd.config.loading import DEFAULT_PATH
from poddispatchd.config.masking import dsn_password
from poddispatchd.database import migration
from poddispatchd.database.connect_errors import Setting
from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import ConfigurationError
from poddispatchd.observability.logs import register_secret
from poddispatchd.pod.setup import SetupPlan, owner_dsn, role_of, set_up, setup_script, verifier_of

_SUPERUSER = "postgres"

_OWNER = Setting("--owner-dsn", "its password comes from PGPASSWORD or ~/.pgpass")

_DERIVED = Setting(
    "database.dsn",
    "its password comes from PGPASSWORD or ~/.pgpass, or say with --owner-dsn who owns Pod's database",
)
"""The same server and database, as the superuser."""


@click.command(short_help="Make the role, its rights and the schema, once.")
@config_option
@click.option("--role", help="The daemon's role; else the one in database.dsn, else the user of config.yaml.")
@click.option("--owner-dsn", "owner", help="How the owner of Pod's database reaches it, without password.")
@click.option("--set-password", is_flag=True, help="Give the password of database.dsn to an existing role.")
@click.option("--print-sql", is_flag=True, help="Print the SQL instead of running it.")
@pass_context
@asynchronous
async def setup(
    context: Context,
    config_path: Path | None,
    role: str | None,
    owner: str | None,
    *,
    set_password: bool,
    print_sql: bool,
) -> None:
    """Make the role of database.dsn, give it the rights it needs on Pod's tables, and make the schema.

    Run it once as root on the machine of the database: it connects over PostgreSQL's socket as postgres.
    For a database elsewhere, --owner-dsn says how its owner reaches it; the password comes from PGPASSWORD
    or ~/.pgpass. It does no harm to run it again.
    """
    dsn = context.settings(config_path).database.dsn.get_secret_value()
    role = role or role_of(dsn) or _owner_of(context.config_path)
    password = dsn_password(dsn)
    if print_sql:
        click.echo(setup_script(role, has_password=bool(password)), nl=False)
        return
    setting = _OWNER
    if owner is None:
        owner, setting = owner_dsn(dsn), _DERIVED
        _become_superuser()
    elif urlsplit(owner).password:
        raise ConfigurationError(
            "--owner-dsn: everybody on this machine can read it in the list of processes: leave the password "
            "out, and give it in PGPASSWORD or ~/.pgpass."
        )
    register_secret(SecretStr(owner))
    plan = SetupPlan(role, verifier_of(password) if password else None, sets_password=set_password)
    database = Database(SecretStr(owner), pool_size=2, setting=setting)
    await database.open()
    try:
        async with commits_told(database):
            result = await set_up(database, plan)
    finally:
        await database.close()
    click.echo(f"Role {role}: {'made' if result.made_role else 'was there'}; it has the rights it needs.")
    if result.taken_from is not None:
        click.echo(
            f"Schema {migration.SCHEMA}: it was role {result.taken_from}'s: if a daemon runs as that one, "
            "restart it."
        )
    click.echo(
        f"Schema {migration.SCHEMA}: version {migration.LATEST}"
        f"{'' if result.steps else ', as before'}. Next: poddispatchd check"
    )


def _owner_of(path: Path | None) -> str:
    """The user of the daemon: the one whom its configuration belongs to."""
    found = path or Path(os.environ.get("PODDISPATCHD_CONFIG") or DEFAULT_PATH)
    try:
        user = found.owner()
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no {found}: make it with 'poddispatchd config import', or name the daemon's user with "
            "--role."
        ) from None
    except (OSError, KeyError):
        user = "root"
    if user == "root":
        raise ConfigurationError(
            "database.dsn names no role, and the configuration belongs to root: write the role into "
            "database.dsn, or name the daemon's user with --role."
        )
    return user


def _become_superuser() -> None:
    """Let PostgreSQL know root as its superuser (peer authentication).

    Raises:
        ConfigurationError: only root and that user itself may, and that user must be able to read our Python.
    """
    try:
        account = pwd.getpwnam(_SUPERUSER)
    except KeyError:
        raise ConfigurationError(
            "There is no user postgres on this machine: say with --owner-dsn how the owner of Pod's database "
            "reaches it."
        ) from None
    if os.geteuid() not in (0, account.pw_uid):
        raise ConfigurationError("Run it as root, or say with --owner-dsn who owns Pod's database.")
    # What the driver looks for at home is this user's.
    os.environ["HOME"] = account.pw_dir
    os.seteuid(account.pw_uid)
    # What is imported from here on is read as this user.
    for program in (os.__file__, __file__):
        if not os.access(program, os.R_OK, effective_ids=True):
            raise ConfigurationError(
                f"User {_SUPERUSER} cannot read {program}: install poddispatchd and its Python where all "
                "may read them, as docs/install.md does, or say with --owner-dsn who owns Pod's database."
            )
