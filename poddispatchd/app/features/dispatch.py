"""The job that submits tasks."""

from poddispatchd.app.parts import Parts
from poddispatchd.dispatch.acceptance import Acceptance
from poddispatchd.dispatch.candidates import Candidates
from poddispatchd.dispatch.dispatcher import Dispatcher
from poddispatchd.dispatch.encoding_logs import EncodingLogs
from poddispatchd.dispatch.intents import IntentLog
from poddispatchd.dispatch.payloads import Payloads, SourceFiles
from poddispatchd.dispatch.submission_backoff import SubmissionBackoff
from poddispatchd.dispatch.submission_turns import SubmissionTurns
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.dispatch.unanswered import Unanswered
from poddispatchd.managers.reachability import Reachability


def dispatcher(parts: Parts, *, budget: int | None = None, single_pass: bool = False) -> Dispatcher:
    """The job that submits pending tasks; ``budget``: how many of each type; ``single_pass``: no daemon."""
    intents = IntentLog(
        parts.database, lambda: parts.settings.dispatch, parts.wakeups, lambda: parts.output_language
    )
    turns = SubmissionTurns(parts.registry, parts.wakeups.dispatcher.ring, parts.clock)
    waiting, submitter = candidates(parts, read_beside=True), _submitter(parts, intents, turns)
    backoff = SubmissionBackoff(
        incidents=parts.incidents,
        locked_rows=parts.locked_rows,
        session=parts.session,
        catalogue=parts.catalogue,
        clock=parts.clock,
    )
    return Dispatcher(
        leadership=parts.session.leadership,
        managers=parts.managers,
        turns=turns,
        candidates=waiting,
        submitter=submitter,
        intents=intents,
        unanswered=Unanswered(
            managers=parts.managers,
            turns=turns,
            submitter=submitter,
            database=parts.database,
            backoff=backoff,
            memories=waiting.memories,
            clock=parts.clock,
            single_pass=single_pass,
        ),
        backoff=backoff,
        fair_shares=parts.fair_shares,
        settings=lambda: parts.settings.dispatch,
        wakeup=parts.wakeups.dispatcher,
        metrics=parts.metrics,
        clock=parts.clock,
        budget=budget,
    )


def _submitter(parts: Parts, intents: IntentLog, turns: SubmissionTurns) -> Submitter:
    pod = parts.settings.pod
    return Submitter(
        leadership=parts.session.leadership,
        client=parts.client,
        registry=parts.registry,
        payloads=payloads(parts),
        intents=intents,
        acceptance=Acceptance(
            database=parts.database,
            client=parts.client,
            registry=parts.registry,
            logs=EncodingLogs(parts.media, pod, parts.incidents, parts.clock),
            wakeups=parts.wakeups,
            pod=pod,
            clock=parts.clock,
            after=turns.posted,
        ),
        reachability=Reachability(
            parts.client, parts.registry, parts.incidents, parts.clock, parts.wakeups.dispatcher.ring
        ),
        metrics=parts.metrics,
        clock=parts.clock,
    )


def candidates(parts: Parts, *, read_beside: bool = False) -> Candidates:
    """What shows the tasks that can be submitted."""
    return Candidates(
        database=parts.database,
        catalogue=parts.catalogue,
        sites=parts.sites,
        fair_shares=parts.fair_shares,
        settings=lambda: parts.settings.dispatch,
        clock=parts.clock,
        max_attempts=lambda: parts.settings.reconcile.max_attempts,
        has_journal=parts.has_journal,
        read_beside=read_beside,
    )


def payloads(parts: Parts) -> Payloads:
    """What makes the bodies of submissions."""
    return Payloads(
        database=parts.database,
        catalogue=parts.catalogue,
        disk=SourceFiles(parts.media, parts.settings.pod),
        evidence=parts.evidence,
        pod=parts.settings.pod,
    )
