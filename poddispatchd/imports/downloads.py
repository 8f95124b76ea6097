"""Results from runner managers into the staging directory."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import left_out, wanted
from poddispatchd.domain.task import Task
from poddispatchd.imports.queue import ImportJob
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.media.results import StagingStorage
from poddispatchd.pod.media.tree import MediaPath
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.download import DownloadLimits, download_result


class Downloaded(Struct, frozen=True):
    """What was downloaded: how many bytes, and which files of the result were not, with the reason."""

    size: int
    left_out: Mapping[str, str]


class Downloads:
    """Fetches what is wanted of a result.

    Args:
        client: asks.
        registry: learns that a manager answers.
        settings: the current ones.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        client: RunnerClient,
        registry: ManagerRegistry,
        settings: Callable[[], Settings],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._client = client
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._clock = clock

    async def fetch(
        self, job: ImportJob, task: Task, manager: RunnerManager, staging: MediaPath
    ) -> Downloaded:
        """Download the files of a result that its task can have.

        Raises:
            PoddispatchdError: it could not be had.
        """
        manifest = await self._client.manifest(manager, job.task_id)
        settings = self._settings()
        result = await download_result(
            self._client,
            manager,
            job.task_id,
            wanted(manifest, task.type),
            StagingStorage(staging),
            limits=DownloadLimits(
                max_size=settings.imports.max_size,
                keep_free=settings.imports.keep_free,
                first_byte_timeout=settings.imports.first_byte_timeout,
                min_rate=settings.imports.min_rate,
            ),
            mode=settings.pod.file_permissions,
            random=self._clock.random,
            sleep=self._clock.sleep,
            received=self._metrics.download_bytes.inc,
        )
        self._registry.learn(manager.id, None)
        return Downloaded(result.size, left_out(manifest, task.type))
