"""The metrics of one daemon: all label sets that are known are shown from the start."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from math import nan

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.shadow import Agreement, Difference, Intention
from poddispatchd.domain.task import OTHER_STATUS, SUBMITTABLE, TaskStatus, TaskType
from poddispatchd.observability.metric_families import MetricFamilies


class SubmissionOutcome(StrEnum):
    """How a submission ended."""

    ACCEPTED = "accepted"
    FULL = "full"
    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    UNAVAILABLE = "unavailable"
    LOST = "lost"
    ORPHANED = "orphaned"


class ImportOutcome(StrEnum):
    """How an attempt to import ended."""

    COMPLETED = "completed"
    RETRIED = "retried"
    RESUBMITTED = "resubmitted"
    FAILED = "failed"
    DROPPED = "dropped"


class LostOutcome(StrEnum):
    """What became of a running task that nobody works on."""

    REQUEUED = "requeued"
    FAILED = "failed"


class DeliveryOutcome(StrEnum):
    """What became of a mail, a push or an outgoing event."""

    SENT = "sent"
    RETRIED = "retried"
    FAILED = "failed"
    DROPPED = "dropped"


class HookOutcome(StrEnum):
    """How the command after an import ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class _BeforeAll(Collector):
    """Shows nothing, and is asked before what is registered after it: the first time, it prepares that."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._prepare: Callable[[], None] | None = prepare

    def collect(self) -> Iterable[Metric]:
        """Prepare what the others show."""
        if self._prepare is not None:
            self._prepare()
            self._prepare = None
        return ()


class Metrics(MetricFamilies):
    """The metrics of one daemon, in a registry of their own.

    Task ids never become labels. Runner managers come and go: ``forget_managers`` drops those that are gone.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        # Registered first, and so asked first: it makes the label sets that those behind it show.
        registry.register(_BeforeAll(self._initialise))
        super().__init__(registry)
        for kind in SUBMITTABLE:
            for bound in ("low", "high"):
                # Before anybody has made a forecast: 0 says that nothing waits.
                self.expected_drain.labels(kind, bound).set(nan)
        self._looks: list[Callable[[], None]] = []

    def when_exposed(self, look: Callable[[], None]) -> None:
        """Have gauges set whenever somebody asks for them, instead of with every change."""
        self._looks.append(look)

    def _initialise(self) -> None:
        """Let every label set exist: when first somebody asks, so that no start waits for it."""
        self._initialise_types()
        for reconciled in (*Decision, *LostOutcome):
            self.reconciled.labels(reconciled)
        for delivered in DeliveryOutcome:
            self.mail.labels(delivered)
            self.push.labels(delivered)
            self.events.labels(delivered)
        for certificate in ("server", "client"):
            self.database_certificate_end.labels(certificate)
        for channel in ("mail", "events"):
            self.notification_certificate_end.labels(channel)
        for hook in HookOutcome:
            self.import_hooks.labels(hook)
        for queue in ("callbacks", "imports", "notices", "deliveries", "files"):
            self.backlog.labels(queue)
            self.backlog_oldest.labels(queue)
            self.set_aside.labels(queue)
        for intention in Intention:
            self.shadow_decisions.labels(intention)
        for agreement in Agreement:
            self.shadow_agreements.labels(agreement)
        for difference in Difference:
            self.shadow_differences.labels(difference)
        for campaign in ("active", "paused"):
            self.campaigns.labels(campaign)
        for video in ("waiting", "running", "completed", "failed", "skipped", "cancelled"):
            self.campaign_videos.labels(video)
        self._initialise_listeners()

    def _initialise_listeners(self) -> None:
        for limit in ("quota", "body_memory"):
            self.webhook_limited.labels(limit)
        for listener in ("webhook", "ops"):
            self.http_connections.labels(listener)
            for reason in ("late", "crowded", "full", "exhausted"):
                self.http_connections_dropped.labels(listener, reason)
        for code in (200, 400, 401, 403, 404, 405, 408, 413, 415, 417, 429, 503):
            self.webhook_requests.labels(str(code))

    def _initialise_types(self) -> None:
        for kind in TaskType:
            self.queue_oldest_pending.labels(kind)
            self.import_duration.labels(kind)
            self.stale_tasks.labels(kind)
            for status in (*TaskStatus, OTHER_STATUS):
                self.tasks.labels(kind, status)
            self.wait.labels(kind)
            self.run.labels(kind)
            if kind in SUBMITTABLE:
                self.window_closed.labels(kind)
            for ended in ("completed", "failed", "timeout"):
                self.ended.labels(kind, ended)
            for outcome in ImportOutcome:
                self.imports.labels(kind, outcome)

    def add_managers(self, names: Iterable[str]) -> None:
        """Let every label set of these runner managers exist."""
        for name in names:
            self.runner_manager_up.labels(name)
            self.runner_manager_active.labels(name)
            self.runner_manager_running.labels(name)
            self.runner_manager_paused.labels(name)
            self.runner_manager_certificate_end.labels(name)
            for state in BreakerState:
                self.runner_manager_breaker.labels(name, state)
            for kind in SUBMITTABLE:
                self.runner_manager_full_until.labels(name, kind)
                for outcome in SubmissionOutcome:
                    self.submissions.labels(name, kind, outcome)

    def forget_managers(self, names: Iterable[str]) -> None:
        """Drop what these runner managers, gone from Pod's table, last reported."""
        for name in names:
            self.runner_manager_up.remove(name)
            self.runner_manager_active.remove(name)
            self.runner_manager_running.remove(name)
            self.runner_manager_paused.remove(name)
            self.runner_manager_certificate_end.remove(name)
            for state in BreakerState:
                self.runner_manager_breaker.remove(name, state)
            for kind in SUBMITTABLE:
                self.runner_manager_full_until.remove(name, kind)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        for look in self._looks:
            look()
        return generate_latest(self.registry)
