"""Reasons of ours are in the language of Pod's people where that is asked for; what others say stays."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.config.showing import settings_as_dict
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER
from poddispatchd.sandbox.fake_runner_manager import Behaviour, Mode, RunOutcome
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.tasks.administration import cancel_tasks
from tests.integration.dispatch.scene import scene
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_FRENCH = {"pod": {"output_language": "fr"}}


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED, changes=_FRENCH) as made:
        yield made


async def _reconcile(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
    for ahead in (0.0, ASK_AGAIN_AFTER):
        here.clock.ahead += ahead
        await watcher.step()
        await watcher.until_idle()


async def _step(here: Bench, task: TaskPk) -> str:
    number, words = await here.step_of(await here.of(task, "video_id"))
    assert number == -1
    return words


async def test_a_source_that_is_missing_and_a_task_that_waited_for_it(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        await pod.encoding(title="there")
        gone = await add_video(pod.connection, pod.world, with_file=False)
        first, second = [await add_task(pod.connection, TaskType.ENCODING, video=gone) for _ in range(2)]
        here = settings_as_dict(pod.settings())["pod"]
        assert isinstance(here, dict)
        daemon = await pod.daemon(pod=here | _FRENCH["pod"])
        await daemon.settle()

        words = (await pod.row(first))["script_output"]
        assert words.startswith("Le fichier source ")
        assert words.endswith(" n'existe pas.")
        also = (await pod.row(second))["script_output"]
        assert also == f"La tâche {first} pour la même source a échoué : {words}"


async def test_a_result_that_cannot_be_imported(here: Bench) -> None:
    task = await here.ready(behaviour=Behaviour(files={"info_video.json": b"{}"}))
    await here.import_due()
    for _ in range(5):
        await here.import_again()

    assert await here.status(task) in ("failed", "pending")
    assert "Son résultat ne peut pas être importé" in await here.words(task)


async def test_a_run_that_is_lost(here: Bench) -> None:
    task = await here.running()
    here.fake.forget(await here.of(task, "task_id"))
    await _reconcile(here)

    assert await here.status(task) == "pending"
    assert "Elle était perdue et est soumise de nouveau : Le gestionnaire " in await here.words(task)


async def test_a_runners_words_stay_and_what_can_be_done_about_them_follows(here: Bench) -> None:
    task = await here.running()
    said = "File does not appear to be a valid video: moov atom not found"
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error=said))
    await _reconcile(here)

    advice = "La source ne peut pas être lue comme une vidéo : déposez-la de nouveau."
    assert await here.status(task) == "failed"
    assert said in await here.words(task)
    assert advice in await here.words(task)
    assert await _step(here, task) == f"{said}\n{advice}"


async def test_who_is_mailed_is_told_in_pods_own_language_whatever_is_written_there(here: Bench) -> None:
    """Its notice is in English: whoever plans the mail translates it."""
    task = await here.running()
    await here.execute("UPDATE runner_manager_task SET task_id = NULL, type = 'other' WHERE id = $1", task)
    await _reconcile(here)

    told = await here.value("SELECT words FROM poddispatchd.notice WHERE task_pk = $1", task)
    assert told == "It runs nowhere: the row has no runner manager or no task id."
    words = "Elle ne tourne nulle part : la ligne n'a pas de gestionnaire ou pas d'identifiant."
    assert (await here.words(task), await _step(here, task)) == (words, words)


async def test_a_task_that_a_person_cancels(here: Bench) -> None:
    task = await here.running()
    [done] = await cancel_tasks(
        here.parts.database, here.parts.client, [task], by="root on media1", language="fr"
    )

    assert done.words.startswith("It is cancelled.")
    assert (await here.words(task)).startswith("Annulée par root on media1.")
