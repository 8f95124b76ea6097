"""The lifecycle against a model: whatever is reported, repeated, lost or restarted, in whatever order."""

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poddispatchd.domain.failures import is_curable
from poddispatchd.domain.lifecycle import Decision, decide, may_submit_again
from poddispatchd.domain.stages import Stage, Step, after
from poddispatchd.domain.task import RunnerStatus, TaskStatus

_MAX_ATTEMPTS = 3
_ENDED = (Stage.COMPLETED, Stage.FAILED, Stage.TIMEOUT)
_ERRORS = ("Source file is no video.", "Task process is no longer running", "Runner is busy", "")
_OWN = [step for step in Step if step not in (Step.ACCEPTED, Step.RESTARTED)]


@dataclass(frozen=True, slots=True)
class _Task:
    """One task: its stage, the id its row carries, its submissions since a restart, and its last words."""

    stage: Stage = Stage.WAITING
    task_id: int | None = None
    words: tuple[str, str] | None = None
    attempts: int = 0

    @property
    def may_submit_again(self) -> bool:
        return may_submit_again(self.attempts, max_attempts=_MAX_ATTEMPTS)


class LifecycleMachine(RuleBasedStateMachine):
    """One task, its submissions, and everybody who talks about it.

    The model is small: what a person asked for is done once, no more often than allowed, and stays done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.task = _Task()
        self.ids = 0
        self.imports = 0

    # --- what happens to it ------------------------------------------------------------------------------

    @precondition(lambda self: after(self.task.stage, Step.ACCEPTED) is not None)
    @rule()
    def a_manager_takes_it(self) -> None:
        self.ids += 1
        self._step(Step.ACCEPTED)
        self.task = replace(self.task, task_id=self.ids, attempts=self.task.attempts + 1, words=None)

    @precondition(lambda self: after(self.task.stage, Step.RESTARTED) is not None)
    @rule()
    def somebody_restarts_it(self) -> None:
        stage = after(self.task.stage, Step.RESTARTED)
        assert stage is not None
        self.task = _Task(stage)
        self.imports = 0

    @rule(step=st.sampled_from(_OWN))
    def something_happens(self, step: Step) -> None:
        if after(self.task.stage, step, may_submit_again=self.task.may_submit_again) is not None:
            self.imports += step is Step.IMPORTED
            self._step(step)

    def _step(self, step: Step) -> None:
        stage = after(self.task.stage, step, may_submit_again=self.task.may_submit_again)
        assert stage is not None
        carries_none = stage.status is TaskStatus.PENDING or step is Step.CANCELLED
        self.task = replace(self.task, stage=stage, task_id=None if carries_none else self.task.task_id)

    # --- what is reported ----------------------------------------------------------------------------------

    @rule(
        report=st.sampled_from(RunnerStatus),
        error=st.sampled_from(_ERRORS),
        by_callback=st.booleans(),
        ran=st.booleans(),
        times=st.integers(1, 3),
    )
    def its_run_is_reported(
        self, report: RunnerStatus, error: str, by_callback: bool, ran: bool, times: int
    ) -> None:
        task_id = self.task.task_id
        for turn in range(times):
            before = self.task
            self._apply(task_id, report, error, by_callback=by_callback, ran=ran)
            if turn:
                assert self.task == before, "a repeated report changed something (I8)"

    @precondition(lambda self: self.ids > 1)
    @rule(report=st.sampled_from(RunnerStatus), error=st.sampled_from(_ERRORS), data=st.data())
    def an_earlier_run_is_reported(self, report: RunnerStatus, error: str, data: st.DataObject) -> None:
        before = self.task
        earlier = data.draw(st.integers(1, self.ids - 1))
        if earlier != before.task_id:
            self._apply(earlier, report, error, by_callback=True, ran=True)
            assert self.task == before

    def _apply(
        self, task_id: int | None, report: RunnerStatus, error: str, *, by_callback: bool, ran: bool
    ) -> None:
        before = self.task
        if task_id is None or task_id != before.task_id:
            return  # compare-and-set: the row does not carry this id (I4)
        words = (report.value, error)
        decision = decide(
            before.stage.status,
            report,
            may_retry=report is RunnerStatus.FAILED
            and before.may_submit_again
            and is_curable(error, ran=ran),
            is_repeated=before.stage.status.value == report.value and before.words == words,
            is_contradicted=by_callback and before.stage is Stage.IMPORTING,
        )
        if before.stage is Stage.COMPLETED:
            assert decision is Decision.IGNORE
        match decision:
            case Decision.IMPORT:
                self.task = replace(before, stage=Stage.IMPORTING)
            case Decision.RETRY:
                assert before.may_submit_again
                assert before.stage not in _ENDED
                self.task = replace(before, stage=Stage.WAITING, task_id=None)
            case Decision.FAIL:
                self.task = replace(before, stage=Stage.FAILED, words=words)
            case Decision.TIME_OUT:
                self.task = replace(before, stage=Stage.TIMEOUT, words=words)
            case Decision.WAIT:
                assert before.stage not in _ENDED
            case Decision.IGNORE:
                pass

    # --- what always holds -------------------------------------------------------------------------------

    @invariant()
    def it_is_done_once_and_stays_done(self) -> None:
        assert self.imports == (self.task.stage is Stage.COMPLETED)

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert self.task.attempts <= _MAX_ATTEMPTS

    @invariant()
    def a_running_task_has_an_id_and_one_that_waits_has_none(self) -> None:
        if self.task.stage.status in (TaskStatus.RUNNING, TaskStatus.PENDING):
            assert (self.task.stage.status is TaskStatus.RUNNING) == (self.task.task_id is not None)

    def teardown(self) -> None:
        """From wherever it is, an honest manager brings it to its end: nothing is stuck."""
        if self.task.stage is Stage.WAITING:
            self._step(Step.INTENDED)
        if self.task.stage is Stage.SUBMITTING:
            self.a_manager_takes_it()
        if self.task.stage.status is TaskStatus.RUNNING:
            self._apply(self.task.task_id, RunnerStatus.COMPLETED, "", by_callback=False, ran=True)
            self._step(Step.IMPORTED)
        assert self.task.stage in _ENDED


TestLifecycle = LifecycleMachine.TestCase
TestLifecycle.settings = settings(
    max_examples=min(60, settings().max_examples), stateful_step_count=30, deadline=None
)
