"""Server parameters of our sessions with PostgreSQL."""

APPLICATION_NAME = "poddispatchd"
"""How our sessions are known to the server."""

STARTUP = {"application_name": APPLICATION_NAME, "timezone": "UTC"}
"""Server parameters that poolers keep for each client; they refuse clients that begin with others."""

_IDLE_IN_TRANSACTION = "20000"
"""Milliseconds. Nothing is waited for between two of our statements; who is frozen or gone holds locks."""

_LOCK_TIMEOUT = "1000"
"""Milliseconds that a statement waits for a row of somebody else's; our own hold them briefly (I12)."""

OWN_SESSION = {
    # The server notices within 20 s, instead of two hours, that this machine has vanished from the network:
    # until then it holds the rows that a transaction of ours has locked.
    "tcp_keepalives_idle": "8",
    "tcp_keepalives_interval": "4",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION,
    "lock_timeout": _LOCK_TIMEOUT,
    # Those of the role or the database are meant for others: sessions of ours rest, and read long tables.
    # What takes too long is cancelled by us (``pool``).
    "statement_timeout": "0",
    # Who waited for a row goes on with what it is then; with the others that would be an error.
    "default_transaction_isolation": "read committed",
    # Rows that a policy hides look as if they were deleted, and their tasks would fail for good (I16).
    "row_security": "off",
    # A row that somebody else holds is an error, and no reason to begin a new session.
    "exit_on_error": "off",
    # Reading a long table looks dear enough to be compiled, every time, which takes longer than reading it.
    "jit": "off",
}
"""Server parameters of a session that nobody else ever has."""

OF_NEWER_SERVERS = {"idle_session_timeout": "0", "transaction_timeout": "0"}
"""The same, where the server knows them (PostgreSQL 14 and 17)."""

DURABLE = (
    "CASE WHEN current_setting('synchronous_commit') = 'off'"
    " THEN set_config('synchronous_commit', 'local', {is_local}) END"
)
"""What is posted or answered has been committed before (I3), and a crash of the server must not take that
back: a DBA's ``off`` is for others. Whatever waits for standby servers stays as it is."""

LIMITS = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
    "SET LOCAL row_security = off; "
    f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_IN_TRANSACTION}; "
    f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT}; "
    "SET LOCAL statement_timeout = 0; "
    f"SELECT {DURABLE.format(is_local='true')}"
)
"""The same for one transaction: a pooler goes on holding a server, with its locks, for a vanished client."""
