"""A fake runner manager on the command line, for the demo and for trying things out."""

import asyncio
import signal

import click

from poddispatchd.sandbox.fake_runner_manager.faults import Behaviour, Crash, Faults, RunOutcome, parse_fault
from poddispatchd.sandbox.fake_runner_manager.files import Mode
from poddispatchd.sandbox.fake_runner_manager.manager import FakeRunnerManager
from poddispatchd.sandbox.fake_runner_manager.records import ALL_TYPES, AcceptedTask, Runner
from poddispatchd.sandbox.fake_runner_manager.routes import HealthRoute


def read_runners(texts: tuple[str, ...]) -> list[Runner]:
    """Runner instances from ``[COUNTx]TYPE[,TYPE…]``, as ``2xencoding,studio``; none given: two that do all.

    Raises:
        click.BadParameter: the text cannot be read; the words say why.
    """
    runners: list[Runner] = []
    for text in texts or (f"2x{','.join(sorted(ALL_TYPES))}",):
        count, separator, names = text.partition("x")
        if not (separator and count.isdigit()):
            count, names = "1", text
        types = frozenset(names.split(","))
        if unknown := sorted(types - ALL_TYPES):
            known = ", ".join(sorted(ALL_TYPES))
            raise click.BadParameter(f"{', '.join(unknown)!r} is no task type; known are {known}.")
        runners += [Runner(types=types) for _ in range(int(count))]
    return runners


def read_connect_to(texts: tuple[str, ...]) -> dict[str, str]:
    """Where callbacks really go, from curl's ``HOST1:PORT1:HOST2:PORT2``.

    Raises:
        click.BadParameter: the text cannot be read.
    """
    mapping: dict[str, str] = {}
    for text in texts:
        parts = text.split(":")
        if len(parts) != 4 or not all(parts):
            raise click.BadParameter(f"{text!r} is not HOST1:PORT1:HOST2:PORT2.")
        mapping[f"{parts[0]}:{parts[1]}"] = f"{parts[2]}:{parts[3]}"
    return mapping


def read_faults(texts: tuple[str, ...], *, fail_every: int, crash_every: int, lose_every: int) -> Faults:
    """The switches from the command line; every n-th task fails, comes back partial, or never ends.

    Raises:
        click.BadParameter: a fault cannot be read; the words say why.
    """
    faults = Faults()
    for text in texts:
        try:
            endpoint, fault, times = parse_fault(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        faults.inject(endpoint, fault, times=times)
    accepted = 0

    def script(_: AcceptedTask) -> Behaviour | None:
        nonlocal accepted
        accepted += 1
        if fail_every and accepted % fail_every == 0:
            return Behaviour(outcome=RunOutcome.FAILED)
        if crash_every and accepted % crash_every == 0:
            return Behaviour(crash=Crash.EARLY)
        if lose_every and accepted % lose_every == 0:
            return Behaviour(outcome=RunOutcome.NEVER)
        return None

    faults.script = script
    return faults


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8081, show_default=True, help="Port to listen on; 0: any free one.")
@click.option("--token", default="sandbox-token", envvar="FAKE_RUNNER_MANAGER_TOKEN", help="Bearer token.")
@click.option("--runner", "runner_texts", multiple=True, metavar="[COUNTx]TYPE[,TYPE]", help="Repeatable.")
@click.option("--task-seconds", default=5.0, show_default=True, help="How long a task runs.")
@click.option("--time-scale", default=1.0, show_default=True, help="Real seconds of one of its seconds.")
@click.option("--mode", type=click.Choice([str(mode) for mode in Mode]), default="proxy", show_default=True)
@click.option(
    "--health", type=click.Choice([str(health) for health in HealthRoute]), default="api", show_default=True
)
@click.option("--prefix", default="", help="Path prefix, as /manager.")
@click.option("--rate-limit", type=int, default=None, help="Calls a minute and path; not limited by default.")
@click.option("--resolve-names/--no-resolve-names", default=False, help="Ask DNS for notify_url hosts.")
@click.option(
    "--connect-to", multiple=True, metavar="HOST1:PORT1:HOST2:PORT2", help="Where callbacks really go."
)
@click.option("--fault", "fault_texts", multiple=True, metavar="ENDPOINT=KIND[:NUMBER][*TIMES]")
@click.option("--fail-every", default=0, metavar="N", help="Every N-th task fails.")
@click.option("--crash-every", default=0, metavar="N", help="Every N-th result is partial.")
@click.option("--lose-every", default=0, metavar="N", help="Every N-th task runs for ever.")
def main(
    *,
    host: str,
    port: int,
    token: str,
    runner_texts: tuple[str, ...],
    task_seconds: float,
    time_scale: float,
    mode: str,
    health: str,
    prefix: str,
    rate_limit: int | None,
    resolve_names: bool,
    connect_to: tuple[str, ...],
    fault_texts: tuple[str, ...],
    fail_every: int,
    crash_every: int,
    lose_every: int,
) -> None:
    """Stand in for an Esup-Runner manager until interrupted."""
    manager = FakeRunnerManager(
        host=host,
        port=port,
        token=token,
        runners=read_runners(runner_texts),
        task_seconds=task_seconds,
        time_scale=time_scale,
        mode=mode,
        health=health,
        prefix=prefix,
        rate_limit=rate_limit,
        resolve_names=resolve_names,
        connect_to=read_connect_to(connect_to),
        faults=read_faults(
            fault_texts, fail_every=fail_every, crash_every=crash_every, lose_every=lose_every
        ),
    )
    asyncio.run(_serve(manager))


async def _serve(manager: FakeRunnerManager) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with manager:
        click.echo(f"Listening on {manager.url}")
        await stopped.wait()


if __name__ == "__main__":
    main()
