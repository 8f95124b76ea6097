"""A second SIGTERM, when the work is done."""

import subprocess
import sys

_COMMAND = """
import asyncio, os, signal
from asyncio.selector_events import BaseSelectorEventLoop
from poddispatchd.cli.common import run_async

close_pipe = BaseSelectorEventLoop._close_self_pipe

def signalled(loop):
    close_pipe(loop)
    os.kill(os.getpid(), signal.SIGTERM)

BaseSelectorEventLoop._close_self_pipe = signalled

async def command():
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, print, "heard")
    return "done"

print(run_async(command()), flush=True)
for number in (signal.SIGTERM, signal.SIGINT):
    os.kill(os.getpid(), number)
"""


def test_it_changes_neither_what_is_said_nor_the_exit_status() -> None:
    """Python complained of a closed pipe, or the process was killed on its last steps."""
    ran = subprocess.run([sys.executable, "-c", _COMMAND], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
