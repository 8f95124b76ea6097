"""A role with nothing but the rights that ``db grants`` prints."""

from urllib.parse import urlsplit

from poddispatchd.domain.task import TaskType
from tests.acceptance.rig import Rig


async def test_the_printed_rights_are_all_that_the_daemon_needs(rig: Rig) -> None:
    role = f"{rig.database.name}_daemon"
    password = "password-of-the-daemon"
    await rig.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    # As it is by itself for a role called poddispatchd, whose own schema "$user" then is.
    await rig.execute(f"ALTER ROLE {role} SET search_path = poddispatchd, public")
    try:
        await rig.execute((await rig.run("db", "grants", role)).out)
        split = urlsplit(rig.database.dsn.get_secret_value())
        rig.use(f"postgresql://{role}:{password}@{split.hostname}:{split.port}{split.path}")
        rig.set("retention", completed_days=1)
        tasks = await rig.add(TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)

        daemon = await rig.start()
        for task in tasks:
            await daemon.event("task.completed", task=task)
        checked = await rig.run("check")
        await daemon.kill()
    finally:
        await rig.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")

    assert daemon.find("service.crashed") is None
    assert "permission denied" not in daemon.text
    assert "The role has every right it needs" in checked.out
    assert (checked.status, password in rig.everything_said()) == (0, False)
