"""Events that other programs are told of: what they are called, what they hold, and a sentence for people.

No more is in them than the ids of a task and its video, a type, a name of a runner manager and a reason
without paths, addresses and numbers.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from poddispatchd.domain.display import escaped
from poddispatchd.domain.notice_texts import one_line
from poddispatchd.domain.task import TaskPk, TaskType, VideoId


class EventType(StrEnum):
    """What happened."""

    TASK_FAILED = "task.failed"
    SET_ASIDE = "queue.item_set_aside"
    MANAGER_DOWN = "runner_manager.down"
    MANAGER_UP = "runner_manager.up"
    SCHEDULER_MISSING = "scheduler.missing"
    SCHEDULER_BACK = "scheduler.back"
    CAMPAIGN_PAUSED = "campaign.paused"
    CAMPAIGN_DONE = "campaign.done"
    TEST = "test"


Subscribable = tuple(kind for kind in EventType if kind is not EventType.TEST)


class OutgoingEvent(Struct, frozen=True):
    """One event. ``id`` stays the same however often it is sent; ``text`` is a sentence for people."""

    id: str
    type: EventType
    at: datetime
    text: str
    data: Mapping[str, object] = field(default_factory=dict)

    def to_content(self) -> dict[str, object]:
        """Plain data: what is kept in the journal, and what is sent."""
        return {
            "id": self.id,
            "type": self.type.value,
            "timestamp": self.at.isoformat(timespec="seconds"),
            "text": self.text,
            "data": dict(self.data),
        }

    @classmethod
    def of_content(cls, content: Mapping[str, object]) -> "OutgoingEvent":
        """The same from the journal.

        Raises:
            ValueError: it is none.
        """
        data = content["data"]
        return cls(
            id=str(content["id"]),
            type=EventType(str(content["type"])),
            at=datetime.fromisoformat(str(content["timestamp"])),
            text=str(content["text"]),
            data=data if isinstance(data, dict) else {},
        )

    def body(self) -> bytes:
        """What is sent: JSON."""
        return json.dumps(self.to_content(), ensure_ascii=False).encode()


class Wording(Struct, frozen=True):
    """In which language an event is told (everything but French is English), and for which Pod."""

    language: str
    title_site: str

    def sentence(self, english: str, french: str, **values: object) -> str:
        """One line: ``[title of the site] …``."""
        template = french if self.language.partition("-")[0] == "fr" else english
        return one_line(escaped(f"[{self.title_site}] {template.format(**values)}"))


_KINDS_IN_FRENCH = {
    TaskType.ENCODING: "encodage",
    TaskType.TRANSCRIPTION: "transcription",
    TaskType.STUDIO: "studio",
    TaskType.OTHER: "autre",
}


class TaskFailure(Struct, frozen=True):
    """A task that ended badly; ``link`` leads to it in Pod's administration."""

    pk: TaskPk
    type: TaskType
    video: VideoId | None
    reason: str
    link: str


def task_failed(event_id: str, at: datetime, wording: Wording, task: TaskFailure) -> OutgoingEvent:
    """A task ended badly."""
    is_french = wording.language.partition("-")[0] == "fr"
    kind = _KINDS_IN_FRENCH[task.type] if is_french else task.type.value
    text = wording.sentence(
        "Task {pk} ({kind}{video}) failed: {reason}",
        "La tâche {pk} ({kind}{video}) a échoué : {reason}",
        pk=task.pk,
        kind=kind,
        video="" if task.video is None else f", {'vidéo' if is_french else 'video'} {task.video}",
        reason=task.reason,
    )
    data = {
        "task": task.pk,
        "task_type": task.type.value,
        "video": task.video,
        "reason": one_line(task.reason),
        "link": task.link,
    }
    return OutgoingEvent(event_id, EventType.TASK_FAILED, at, text, data)


class GivenUpItem(Struct, frozen=True):
    """An item of a queue that was given up. ``task`` is Pod's, None where only the runner's is known."""

    queue: str
    item: str
    task: int | None
    reason: str


def set_aside(event_id: str, at: datetime, wording: Wording, item: GivenUpItem) -> OutgoingEvent:
    """A callback or an import was given up, and waits for a person."""
    text = wording.sentence(
        "{queue} {item} was set aside after too many attempts: {reason} See 'poddispatchd queues list'.",
        "{queue} {item} a été mis de côté après trop d'essais : {reason} Voir « poddispatchd queues list ».",
        queue=item.queue,
        item=item.item,
        reason=item.reason,
    )
    data = {"queue": item.queue, "item": item.item, "task": item.task, "reason": one_line(item.reason)}
    return OutgoingEvent(event_id, EventType.SET_ASIDE, at, text, data)


def manager_down(
    event_id: str, at: datetime, wording: Wording, name: str, *, reason: str, comes_and_goes: bool
) -> OutgoingEvent:
    """A runner manager gets no tasks; ``comes_and_goes``: it fails again and again."""
    text = wording.sentence(
        "Runner manager {name} fails again and again: {reason}"
        if comes_and_goes
        else "Runner manager {name} gets no tasks: {reason}",
        "Le gestionnaire {name} est en panne par intermittence : {reason}"
        if comes_and_goes
        else "Le gestionnaire {name} ne reçoit plus de tâches : {reason}",
        name=name,
        reason=reason,
    )
    data = {"runner_manager": name, "reason": one_line(reason), "comes_and_goes": comes_and_goes}
    return OutgoingEvent(event_id, EventType.MANAGER_DOWN, at, text, data)


def manager_up(event_id: str, at: datetime, wording: Wording, name: str) -> OutgoingEvent:
    """A runner manager that was told to be down gets tasks again."""
    text = wording.sentence(
        "Runner manager {name} works again.", "Le gestionnaire {name} fonctionne de nouveau.", name=name
    )
    return OutgoingEvent(event_id, EventType.MANAGER_UP, at, text, {"runner_manager": name})


def scheduler_missing(event_id: str, at: datetime, wording: Wording, *, reason: str) -> OutgoingEvent:
    """No daemon submits tasks."""
    text = wording.sentence(
        "Nobody schedules, so that no task is submitted: {reason}",
        "Personne n'ordonnance, aucune tâche n'est soumise : {reason}",
        reason=reason,
    )
    return OutgoingEvent(event_id, EventType.SCHEDULER_MISSING, at, text, {"reason": one_line(reason)})


def scheduler_back(event_id: str, at: datetime, wording: Wording) -> OutgoingEvent:
    """Tasks are submitted again."""
    text = wording.sentence("A daemon schedules again.", "Un démon ordonnance de nouveau.")
    return OutgoingEvent(event_id, EventType.SCHEDULER_BACK, at, text)


class ToldCampaign(Struct, frozen=True):
    """A campaign that was paused by itself, or is done; ``reason``: why it was paused, else empty."""

    name: str
    type: TaskType
    reason: str
    videos: int
    completed: int
    failed: int
    skipped: int


def campaign_changed(event_id: str, at: datetime, wording: Wording, campaign: ToldCampaign) -> OutgoingEvent:
    """A campaign waits for a person, or nothing of it is left to do."""
    english = (
        "Campaign {name} is done: {completed} of {videos} videos completed, {failed} failed, "
        "{skipped} skipped."
    )
    french = (
        "La campagne {name} est terminée : {completed} vidéos sur {videos} réussies, {failed} en échec, "
        "{skipped} ignorées."
    )
    if campaign.reason:
        english = "Campaign {name} is paused after {completed} of {videos} videos: {reason}"
        french = "La campagne {name} est suspendue après {completed} vidéos sur {videos} : {reason}"
    counts = {
        "videos": campaign.videos,
        "completed": campaign.completed,
        "failed": campaign.failed,
        "skipped": campaign.skipped,
    }
    text = wording.sentence(english, french, name=campaign.name, reason=campaign.reason, **counts)
    data: dict[str, object] = {"campaign": campaign.name, "task_type": campaign.type.value, **counts}
    if not campaign.reason:
        return OutgoingEvent(event_id, EventType.CAMPAIGN_DONE, at, text, data)
    data["reason"] = one_line(campaign.reason)
    return OutgoingEvent(event_id, EventType.CAMPAIGN_PAUSED, at, text, data)


def trial_event(event_id: str, at: datetime, wording: Wording) -> OutgoingEvent:
    """Nothing happened: somebody tries whether events arrive."""
    text = wording.sentence(
        "This is a test of poddispatchd's events.", "Ceci est un essai des événements de poddispatchd."
    )
    return OutgoingEvent(event_id, EventType.TEST, at, text)
