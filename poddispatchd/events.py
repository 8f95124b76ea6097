"""The name of everything that is logged: ``noun.verb``, in one place, so that logs can be searched by it."""

from enum import StrEnum


class Event(StrEnum):
    """What happened. The text after a name says when it is logged."""

    # --- the daemon itself ---
    DAEMON_STARTED = "daemon.started"
    """The process runs, its settings are fine; nothing is connected yet."""
    DAEMON_READY = "daemon.ready"
    """Database, schema and listeners are fine: systemd is told READY."""
    DAEMON_STOPPING = "daemon.stopping"
    """A signal asks to stop: no new work is taken."""
    DAEMON_STOPPED = "daemon.stopped"
    """Everything is handed back and closed."""
    CONFIG_INVALID = "config.invalid"
    """A problem of the configuration, one event for each; on reload the old settings stay in effect."""
    CONFIG_RELOADED = "config.reloaded"
    """New settings are in effect."""
    SERVICE_CRASHED = "service.crashed"
    """A part of the daemon ended by an error nobody foresaw: a bug."""
    SERVICE_STUCK = "service.stuck"
    """A job makes no progress: systemd's watchdog is not fed."""
    SCHEMA_UPGRADED = "schema.upgraded"
    """A step of poddispatchd's own schema was carried out."""
    LEADER_ACQUIRED = "leader.acquired"
    """This instance now schedules."""
    LEADER_LOST = "leader.lost"
    """Another instance schedules, or the database is gone."""
    PYTHON_WARNED = "python.warned"
    """A warning of Python or a library."""

    # --- the database ---
    DATABASE_UP = "database.up"
    """The database answers again: a full rescan follows."""
    DATABASE_DOWN = "database.down"
    """The database does not answer; logged once, not at every attempt."""

    LISTENER_CHANGED = "listener.changed"
    """Notifications of the database arrive again, or stopped arriving: polling goes on either way."""

    # --- the media tree ---
    MEDIA_SLOW = "media.slow"
    """The file system did not answer in time."""
    MEDIA_MISSING = "media.missing"
    """There is nothing under MEDIA_ROOT: nothing is submitted until it is mounted again."""
    MEDIA_NOT_WRITABLE = "media.not_writable"
    """A file of the media tree could not be written or deleted."""

    # --- tasks ---
    TASK_SUBMITTED = "task.submitted"
    """A runner manager accepted a task and the row says so."""
    TASK_FAILED = "task.failed"
    """A task ended as failed; the words say why."""
    TASK_COMPLETED = "task.completed"
    """The result of a task is in Pod."""
    TASK_STALE = "task.stale"
    """A task runs for longer than reconcile.stale_after; logged once for each."""
    TASK_REQUEUED = "task.requeued"
    """A running task is pending again."""
    TASKS_PURGED = "tasks.purged"
    """Old completed rows were deleted."""
    RANKS_WRITTEN = "ranks.written"
    """Ranks of pending rows changed."""

    # --- submissions ---
    SUBMISSION_REFUSED = "submission.refused"
    """A runner manager refuses this very task."""
    SUBMISSION_ADAPTED = "submission.adapted"
    """A part of a task could not be sent as it is in Pod; the words say what was left out."""
    SUBMISSION_LOST = "submission.lost"
    """The answer to a submission did not arrive: it may have been carried out."""
    SUBMISSION_ADOPTED = "submission.adopted"
    """A task on a runner manager was matched to the submission whose answer was lost."""
    SUBMISSION_ORPHANED = "submission.orphaned"
    """A submission was accepted for a row that somebody changed meanwhile: it is stopped."""

    # --- callbacks ---
    CALLBACK_RECEIVED = "callback.received"
    """A callback is recorded in the inbox."""
    CALLBACK_APPLIED = "callback.applied"
    """A callback changed its task."""
    CALLBACK_IGNORED = "callback.ignored"
    """A callback that changes nothing: applied before, or of a task that nobody knows."""
    CALLBACK_REFUSED = "callback.refused"
    """A callback answered with an error; the status and the words say why."""

    # --- imports ---
    IMPORT_STARTED = "import.started"
    """The result of a task is being downloaded."""
    IMPORT_COMPLETED = "import.completed"
    """The result is verified, in place and in the database."""
    IMPORT_FAILED = "import.failed"
    """The result cannot be imported, for good."""
    IMPORT_DROPPED = "import.dropped"
    """An import is not needed any more: the row was completed, restarted or deleted by someone else."""
    IMPORT_WARNED = "import.warned"
    """Something that a person should know about an import that succeeded."""
    IMPORT_RETRIED = "import.retried"
    """An attempt failed and another follows."""

    # --- runner managers ---
    RUNNER_MANAGER_UP = "runner_manager.up"
    """A runner manager answers again."""
    RUNNER_MANAGER_DOWN = "runner_manager.down"
    """A runner manager does not answer; logged once per outage."""
    RUNNER_MANAGER_FULL = "runner_manager.full"
    """A runner manager has no free runner for a type of task: normal back-pressure."""
    RUNNER_MANAGER_MISCONFIGURED = "runner_manager.misconfigured"
    """A URL or a token has to be corrected by a person in Pod's administration."""
    RECONCILE_ASKED = "reconcile.asked"
    """A runner manager was asked about a running task; the outcome says what it answered."""
