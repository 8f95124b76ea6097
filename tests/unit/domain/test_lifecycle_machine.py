"""The lifecycle against a model: whatever is reported, repeated, lost or restarted, in whatever order."""

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poddispatchd.domain.lifecycle import Decision, decide, is_curable, row_status
from poddispatchd.domain.task import RunnerStatus, TaskStatus

_MAX_ATTEMPTS = 3
_ENDED = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMEOUT)
_ERRORS = ("Source file is no video.", "Task process is no longer running", "Runner is busy", "")


@dataclass(frozen=True, slots=True)
class _Row:
    """Pod's row and what the journal knows of it: an id, an open import, the submissions since a restart."""

    status: str = TaskStatus.PENDING
    task_id: int | None = None
    words: tuple[str, str] | None = None
    importing: bool = False
    attempts: int = 0


class LifecycleMachine(RuleBasedStateMachine):
    """One task, its submissions, and everybody who talks about it."""

    def __init__(self) -> None:
        super().__init__()
        self.row = _Row()
        self.ids = 0
        self.completed = False

    # --- what poddispatchd does --------------------------------------------------------------------------

    @precondition(lambda self: self.row.status == TaskStatus.PENDING)
    @rule()
    def submit(self) -> None:
        self.ids += 1
        self.row = replace(
            self.row, status=TaskStatus.RUNNING, task_id=self.ids, attempts=self.row.attempts + 1, words=None
        )

    @precondition(lambda self: self.row.importing)
    @rule()
    def the_import_succeeds(self) -> None:
        assert self.row.status == TaskStatus.RUNNING
        self.row = replace(self.row, status=TaskStatus.COMPLETED, importing=False)
        self.completed = True

    @precondition(lambda self: self.row.importing)
    @rule()
    def the_result_is_spoilt(self) -> None:
        if self.row.attempts < _MAX_ATTEMPTS:
            self._requeue()
        else:
            self.row = replace(self.row, status=TaskStatus.FAILED, importing=False, words=("ours", ""))

    @precondition(lambda self: self.row.status == TaskStatus.RUNNING and not self.row.importing)
    @rule()
    def the_manager_forgets_it_twice(self) -> None:
        self.the_result_is_spoilt()

    @precondition(lambda self: self.row.status in _ENDED)
    @rule()
    def somebody_restarts_it(self) -> None:
        self.row = _Row()
        self.completed = False

    def _requeue(self) -> None:
        self.row = replace(self.row, status=TaskStatus.PENDING, task_id=None, importing=False)

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
        task_id = self.row.task_id
        for turn in range(times):
            before = self.row
            self._apply(task_id, report, error, by_callback=by_callback, ran=ran)
            if turn:
                assert self.row == before, "a repeated report changed something (I8)"

    @precondition(lambda self: self.ids > 1)
    @rule(report=st.sampled_from(RunnerStatus), error=st.sampled_from(_ERRORS), data=st.data())
    def an_earlier_run_is_reported(self, report: RunnerStatus, error: str, data: st.DataObject) -> None:
        before = self.row
        earlier = data.draw(st.integers(1, self.ids - 1))
        if earlier != before.task_id:
            self._apply(earlier, report, error, by_callback=True, ran=True)
            assert self.row == before

    def _apply(
        self, task_id: int | None, report: RunnerStatus, error: str, *, by_callback: bool, ran: bool
    ) -> None:
        before = self.row
        if task_id is None or task_id != before.task_id:
            return  # compare-and-set: the row does not carry this id (I4)
        words = (report.value, error)
        decision = decide(
            row_status(before.status),
            report,
            may_retry=report is RunnerStatus.FAILED
            and before.attempts < _MAX_ATTEMPTS
            and is_curable(error, ran=ran),
            is_repeated=before.status == report and before.words == words,
            is_contradicted=by_callback and before.importing,
        )
        if before.status == TaskStatus.COMPLETED:
            assert decision is Decision.IGNORE
        match decision:
            case Decision.IMPORT:
                self.row = replace(before, status=TaskStatus.RUNNING, importing=True)
            case Decision.RETRY:
                assert before.attempts < _MAX_ATTEMPTS
                assert before.status not in _ENDED
                self._requeue()
            case Decision.FAIL:
                self.row = replace(before, status=TaskStatus.FAILED, words=words, importing=False)
            case Decision.TIME_OUT:
                self.row = replace(before, status=TaskStatus.TIMEOUT, words=words, importing=False)
            case Decision.WAIT:
                assert before.status not in _ENDED
            case Decision.IGNORE:
                pass

    # --- what always holds -------------------------------------------------------------------------------

    @invariant()
    def completed_stays_completed(self) -> None:
        assert self.completed == (self.row.status == TaskStatus.COMPLETED)

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert self.row.attempts <= _MAX_ATTEMPTS

    @invariant()
    def only_a_running_task_is_imported(self) -> None:
        assert not self.row.importing or self.row.status == TaskStatus.RUNNING

    @invariant()
    def a_running_task_has_an_id(self) -> None:
        assert (self.row.status == TaskStatus.RUNNING) <= (self.row.task_id is not None)

    def teardown(self) -> None:
        """From wherever it is, an honest manager brings it to its end: nothing is stuck."""
        if self.row.status == TaskStatus.PENDING:
            self.row = replace(self.row, attempts=0)
            self.submit()
        if self.row.status == TaskStatus.RUNNING:
            self._apply(self.row.task_id, RunnerStatus.COMPLETED, "", by_callback=False, ran=True)
            self.the_import_succeeds()
        assert self.row.status in _ENDED


TestLifecycle = LifecycleMachine.TestCase
TestLifecycle.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
