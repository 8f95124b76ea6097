"""A real nginx, with the snippet that we ship, in front of a webhook."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from poddispatchd.config.units import Address
from poddispatchd.sandbox.ports import free_ports
from tests.integration.web.wire import connect

_ROOT = Path(__file__).parents[3]
_SNIPPETS = _ROOT / "contrib" / "nginx"
_UNPACKED = _ROOT / ".venv" / "nginx"
_MISSING = (
    "nginx is not here. 'make nginx' unpacks Debian's; elsewhere, or without apt, install it "
    "(on Debian as root: apt-get install nginx)."
)
SHIPPED = (_SNIPPETS / "poddispatchd.conf").read_text(encoding="utf-8")


def _installed() -> tuple[str, dict[str, str]]:
    """The program and its environment; no test is left out because it is missing."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is not None:
        return found, {}
    program = _UNPACKED / "usr" / "sbin" / "nginx"
    assert program.exists(), _MISSING
    folders = [*_UNPACKED.glob("usr/lib/*-linux-*"), *_UNPACKED.glob("lib/*-linux-*")]
    return str(program), {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


@asynccontextmanager
async def nginx(
    webhook: Address, directory: Path, location: str = SHIPPED, *, server: str = "client_header_timeout 10s;"
) -> AsyncIterator[Address]:
    """Run it, and give the address where it listens.

    Args:
        webhook: where it passes requests on to.
        directory: for its files.
        location: the snippet.
        server: what stands beside it in the server block.
    """
    [port] = free_ports(1)
    assert "127.0.0.1:8765" in location
    (directory / "location.conf").write_text(
        location.replace("127.0.0.1:8765", str(webhook)), encoding="utf-8"
    )
    folders = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"daemon off; master_process off; {user} pid {directory}/pid; error_log {directory}/error.log info;"
        "worker_rlimit_nofile 32768; events { worker_connections 16384; } http { access_log off;"
        f"{folders}"
        f"include {_SNIPPETS}/poddispatchd-limits.conf;"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; {server}"
        f"include {directory}/location.conf; }} }}",
        encoding="utf-8",
    )
    program, environment = _installed()
    process = await asyncio.create_subprocess_exec(
        program,
        *("-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")),
        env={"PATH": os.defpath, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    address = Address("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            while process.returncode is None:
                try:
                    _, writer = await connect(address)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        assert process.returncode is None, (await process.communicate())[1]
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
