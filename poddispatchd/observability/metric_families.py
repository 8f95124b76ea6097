"""What is measured: the name of every metric, its meaning, its labels."""

from math import nan

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from poddispatchd import __version__
from poddispatchd.build import REVISION

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for

_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAITS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_LONG = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)


class MetricFamilies:
    """The metrics of one daemon, in a registry of their own, by what they are about."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._add_queue()
        self._add_runner_managers()
        self._add_listeners()
        self._add_results()
        self._add_daemon()
        self._add_shadow()
        ProcessCollector(registry=self.registry)
        Info(
            "poddispatchd_build",
            "Version of poddispatchd, and the commit of its build.",
            registry=self.registry,
        ).info({"version": __version__, "revision": REVISION or ""})

    def _add_queue(self) -> None:
        """What waits, what is submitted, and how tasks end."""
        self.tasks = self._gauge("tasks", "Tasks by type and status.", "type", "status")
        self.queue_oldest_pending = self._gauge(
            "queue_oldest_pending_timestamp_seconds",
            "When the oldest pending task was added, as a Unix time; 0 when none is pending.",
            "type",
        )
        self.submissions = self._counter(
            "submissions_total", "Tasks posted to runner managers.", "runner_manager", "type", "outcome"
        )
        self.submission_duration = self._histogram(
            "submission_duration_seconds", "Time a runner manager took to answer a submission.", _SHORT
        )
        self.dispatch_latency = self._histogram(
            "dispatch_latency_seconds", "Time from first sight of a pending task to its acceptance.", _LONG
        )
        self.slot_idle = self._histogram(
            "slot_idle_seconds", "Time from the end of a task to the next acceptance by its manager.", _LONG
        )
        self.reconciled = self._counter(
            "reconciled_total", "Running tasks asked about, by what was decided.", "outcome"
        )
        self.stale_tasks = self._gauge(
            "stale_tasks", "Tasks that run for longer than reconcile.stale_after.", "type"
        )
        self.ended = self._counter(
            "ended_total", "Tasks that ended, by whomever, as the scheduler sees it.", "type", "outcome"
        )
        self.wait = self._histogram(
            "wait_seconds", "Time from a task's date_added to the beginning of its run.", _WAITS, "type"
        )
        self.expected_drain = self._gauge(
            "expected_drain_seconds",
            "Time until nothing of a type waits or runs any more, in eight of ten cases between low and "
            "high; NaN: there is no basis for saying so.",
            "type",
            "bound",
        )
        self.campaigns = self._gauge(
            "campaigns", "Campaigns that are active or paused; of the scheduler.", "state"
        )
        self.campaign_videos = self._gauge(
            "campaign_videos",
            "Videos of campaigns that are active or paused, by what became of them; of the scheduler.",
            "state",
        )
        self.run = self._histogram(
            "run_seconds", "Time from the beginning of a run to the end of its task.", _WAITS, "type"
        )

    def _add_runner_managers(self) -> None:
        """Runner managers as the daemon knows them."""
        self.runner_manager_up = self._gauge(
            "runner_manager_up",
            "Whether the runner manager answers; the worst of one name.",
            "runner_manager",
        )
        self.runner_manager_active = self._gauge(
            "runner_manager_active", "Whether it is active in Pod's administration.", "runner_manager"
        )
        self.runner_manager_breaker = self._gauge(
            "runner_manager_breaker_state",
            "1 for the state the runner manager's breaker is in.",
            "runner_manager",
            "state",
        )
        self.runner_manager_running = self._gauge(
            "runner_manager_running_tasks", "Tasks of Pod's running there.", "runner_manager"
        )
        self.runner_manager_full_until = self._gauge(
            "runner_manager_full_until_timestamp_seconds",
            "When the manager is asked again for this type after it had no free runner; 0: it is asked.",
            "runner_manager",
            "type",
        )
        self.window_closed = self._gauge(
            "window_closed",
            "Whether no task of the type is submitted now, for windows are closed at every runner manager.",
            "type",
        )
        self.runner_manager_paused = self._gauge(
            "runner_manager_paused", "Whether a person has paused the runner manager.", "runner_manager"
        )

        self.runner_manager_certificate_end = self._gauge(
            "runner_manager_certificate_end_timestamp_seconds",
            "When the TLS certificate of the runner manager ends, as a Unix time; 0: it has shown none.",
            "runner_manager",
        )

    def _add_listeners(self) -> None:
        """Who calls, and what is answered."""
        self.webhook_requests = self._counter(
            "webhook_requests_total", "Requests to the webhook by HTTP status.", "code"
        )
        self.webhook_duration = self._histogram(
            "webhook_duration_seconds", "Time the webhook took to answer.", _SHORT
        )
        self.webhook_limited = self._counter(
            "webhook_limited_total",
            "Callbacks with a valid token that were told to come again later, by the limit that they met.",
            "limit",
        )
        self.http_connections = self._gauge("http_connections", "Open connections of a listener.", "listener")
        self.http_connections_dropped = self._counter(
            "http_connections_dropped_total",
            "Connections that a listener ended or did not take: late, to make room (crowded), because none "
            "could make room (full), or for want of file descriptors (exhausted).",
            "listener",
            "reason",
        )

    def _add_results(self) -> None:
        """Imports, and who is told of the end of a task."""
        self.imports = self._counter("imports_total", "Attempts to import a result.", "type", "outcome")
        self.import_duration = self._histogram(
            "import_duration_seconds", "Time of a completed import.", _LONG, "type"
        )
        self.download_bytes = self._counter("download_bytes_total", "Bytes of results downloaded.")
        self.purged = self._counter("purged_total", "Completed tasks deleted after their retention.")
        self.opencast_entries_purged = self._counter(
            "opencast_entries_purged_total", "Entries of opencast-files deleted after their retention."
        )
        self.mail = self._counter("mail_total", "Mail by what became of an attempt to send it.", "outcome")
        self.push = self._counter("push_total", "Web pushes by what became of an attempt.", "outcome")
        self.events = self._counter(
            "events_total", "Outgoing events by what became of an attempt to send them.", "outcome"
        )
        self.import_hooks = self._counter(
            "import_hooks_total", "Runs of the command after an import, by how they ended.", "outcome"
        )
        self.media_free_bytes = self._gauge(
            "media_free_bytes", "Free space under MEDIA_ROOT; NaN: it was not looked at yet."
        )
        self.media_free_bytes.set(nan)
        self.media_usable = self._gauge("media_usable", "Whether results can be written under MEDIA_ROOT.")
        self.media_usable.set(1)

    def _add_daemon(self) -> None:
        """The daemon itself, and what it stands on."""
        self.leader = self._gauge("leader", "Whether this daemon is the one that schedules.")
        self.listener_up = self._gauge("listener_up", "Whether notifications of the database arrive.")
        self.database_up = self._gauge("database_up", "Whether the database answers.")
        self.database_writable = self._gauge(
            "database_writable",
            "Whether anything can be written for tasks: 0 while the database refuses it, or another session "
            "holds a table as a whole for minutes.",
        )
        self.database_writable.set(1)
        self.database_certificate_end = self._gauge(
            "database_certificate_end_timestamp_seconds",
            "When a certificate ends by which the database is reached, as a Unix time, the server's or ours "
            "(client); 0: there is none, or database.dsn does not ask that it be verified.",
            "certificate",
        )
        self.notification_certificate_end = self._gauge(
            "notification_certificate_end_timestamp_seconds",
            "When the TLS certificate of the mail server, or of the endpoint of events, ends (Unix time); "
            "0: none is needed, or it has shown none.",
            "channel",
        )
        self.loop_lag = self._gauge("loop_lag_seconds", "How late the event loop was at the last look.")
        self.set_aside = self._gauge(
            "set_aside",
            "Items of a queue of the journal that failed too often and wait for a person.",
            "queue",
        )
        self.backlog = self._gauge("backlog", "What waits in a queue of the journal, by queue.", "queue")
        self.backlog_oldest = self._gauge(
            "backlog_oldest_timestamp_seconds",
            "When the oldest item of the queue came, as a Unix time; 0 when it is empty.",
            "queue",
        )
        self.job_progress = self._gauge(
            "job_last_progress_timestamp_seconds", "When a job last ended a step, as a Unix time.", "job"
        )
        self.config_reload_success = self._gauge(
            "config_reload_success", "Whether the last reload was taken over (1) or refused (0)."
        )
        self.config_reload_success.set(1)
        self.config_reloaded_at = self._gauge(
            "config_reload_success_timestamp_seconds", "When the configuration was last loaded."
        )

    def _add_shadow(self) -> None:
        """What a daemon in the shadow compares."""
        self.shadow = self._gauge("shadow", "Whether this daemon is a shadow: it never schedules.")
        self.shadow_decisions = self._counter(
            "shadow_decisions_total", "Shadow mode: what would have been done with a task.", "decision"
        )
        self.shadow_agreements = self._counter(
            "shadow_agreements_total", "Shadow mode: tasks with which Pod did the same.", "agreement"
        )
        self.shadow_differences = self._counter(
            "shadow_differences_total", "Shadow mode: what Pod did otherwise, or did not do.", "difference"
        )
        self.shadow_wait = self._histogram(
            "shadow_wait_seconds", "Shadow mode: time by which Pod submitted a task later.", _LONG
        )
        self.shadow_wrong_ranks = self._gauge(
            "shadow_wrong_ranks", "Shadow mode: tasks whose rank is not their place in the queue."
        )
        self.shadow_purgeable = self._gauge(
            "shadow_purgeable_tasks", "Shadow mode: completed tasks that would be deleted."
        )

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"poddispatchd_{name}", meaning, labels, registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"poddispatchd_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"poddispatchd_{name}", meaning, labels, buckets=buckets, registry=self.registry)
