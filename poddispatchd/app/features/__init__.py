"""The jobs of the features, each with what it uses."""

from poddispatchd.app.features.callbacks import callback_worker
from poddispatchd.app.features.campaigns import campaigns
from poddispatchd.app.features.dispatch import candidates, dispatcher, payloads
from poddispatchd.app.features.imports import deletion, importer
from poddispatchd.app.features.maintenance import maintenance, media_space, opencast_files, queue_counter
from poddispatchd.app.features.notify import event_sender, event_watch, hooks, notifier, scheduler_watch
from poddispatchd.app.features.reconcile import applied_outcomes, prober, reconciler, stops
from poddispatchd.app.features.shadow import shadow_jobs
from poddispatchd.app.features.status import figures, health, status

__all__ = [
    "applied_outcomes",
    "callback_worker",
    "campaigns",
    "candidates",
    "deletion",
    "dispatcher",
    "event_sender",
    "event_watch",
    "figures",
    "health",
    "hooks",
    "importer",
    "maintenance",
    "media_space",
    "notifier",
    "opencast_files",
    "payloads",
    "prober",
    "queue_counter",
    "reconciler",
    "scheduler_watch",
    "shadow_jobs",
    "status",
    "stops",
]
