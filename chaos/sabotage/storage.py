"""Faults of the database, of the links to it, and of the disk."""

import asyncio
from collections.abc import Mapping

from chaos.sabotage.fault import Fault, Lot
from chaos.sabotage.links import LinkFaults
from chaos.stage import Stage
from chaos.timeline import Incident, Kind

_NEVER_FREE = "1000TiB"
"""More than any disk has: with so much to be kept free, a daemon takes every disk for full."""

_VIDEOS = "videos"
"""VIDEOS_DIR."""


class StorageFaults:
    """Ends the database, breaks the links to it; fills, freezes and hides the disk."""

    def __init__(self, stage: Stage, lot: Lot) -> None:
        self._stage = stage
        self._lot = lot
        self._server_busy = asyncio.Lock()
        names = [daemon.name for daemon in stage.daemons]
        self._links = LinkFaults(stage.timeline, lot, stage.proxies, names)

    def faults(self) -> Mapping[Kind, Fault]:
        """Each of them by its kind."""
        of_the_disk = {}
        if self._stage.disk.can_freeze:
            of_the_disk[Kind.MEDIA_HUNG] = self.freeze_disk
        if self._stage.disk.can_stop:
            of_the_disk[Kind.MEDIA_STOPPED] = self.stop_disk
        if self._stage.disk.is_real:
            of_the_disk[Kind.MEDIA_EMPTY] = self.hide_videos
        return {
            **of_the_disk,
            Kind.DATABASE_RESTART: self.restart_database,
            Kind.LEADER_CUT: self.cut_leader_off,
            Kind.LINK_CUT: lambda: self._links.cut(Kind.LINK_CUT),
            Kind.LINK_STALL: lambda: self._links.stall(Kind.LINK_STALL),
            Kind.LINK_HALF_OPEN: lambda: self._links.half_open(Kind.LINK_HALF_OPEN),
            Kind.LINK_DELAY: lambda: self._links.delay(Kind.LINK_DELAY),
            Kind.DISK_FULL: self.fill_disk,
        }

    async def restart_database(self) -> None:
        """End the server without a shutdown, and start it again."""
        pause = self._lot.seconds(0.0, 6.0)
        async with self._lot.turn(self._server_busy) as ours:
            if not ours:
                return
            with self._stage.timeline.incident(Kind.DATABASE_RESTART, "database") as incident:
                command, user = await self._stage.server.stop_immediately()
                incident.happened = True
                await asyncio.sleep(pause)
                await self._stage.server.start(command, user)

    async def cut_leader_off(self) -> None:
        """Cut the link of the daemon that schedules."""
        leader = await self._stage.leader()
        if leader is not None:
            await self._links.cut(Kind.LEADER_CUT, of=leader.name)

    async def fill_disk(self) -> None:
        """No space is left; without a file system of our own, the daemons are told so by their settings."""
        seconds = self._lot.seconds(2.0, 10.0)
        async with self._lot.turn(self._stage.disk.busy) as ours:
            if not ours:
                return
            disk = self._stage.disk
            way = "tmpfs" if disk.is_real else "keep_free"
            with self._stage.timeline.incident(Kind.DISK_FULL, "disk", way) as incident:
                if disk.is_real:
                    await asyncio.to_thread(disk.fill)
                    incident.happened = await asyncio.to_thread(disk.is_full)
                    await asyncio.sleep(seconds)
                    await asyncio.to_thread(disk.empty)
                else:
                    await self._pretend(incident, seconds)

    async def freeze_disk(self) -> None:
        """Whatever writes to the media tree hangs for a while, and cannot even be killed meanwhile."""
        seconds = self._lot.seconds(3.0, 20.0)
        async with self._lot.turn(self._stage.disk.busy) as ours:
            if not ours:
                return
            with self._stage.timeline.incident(Kind.MEDIA_HUNG, "disk") as incident:
                incident.happened = await self._stage.disk.freeze(seconds)

    async def stop_disk(self) -> None:
        """The server of the media tree stands still: whoever touches it waits, and cannot be killed."""
        seconds = self._lot.seconds(3.0, 20.0)
        async with self._lot.turn(self._stage.disk.busy) as ours:
            if not ours:
                return
            with self._stage.timeline.incident(Kind.MEDIA_STOPPED, "disk") as incident:
                incident.happened = await self._stage.disk.stop(seconds)

    async def hide_videos(self) -> None:
        """The directory of all videos is there and empty, as where its share is not mounted.

        Not before a video is finished: nobody could tell that a new Pod's directory is not to be empty.
        """
        disk, seconds = self._stage.disk, self._lot.seconds(2.0, 15.0)
        async with self._lot.turn(disk.busy) as ours:
            if not ours or not await self._has_finished_videos():
                return
            with self._stage.timeline.incident(Kind.MEDIA_EMPTY, "disk") as incident:
                incident.happened = await asyncio.to_thread(disk.hide, _VIDEOS)
                try:
                    await asyncio.sleep(seconds if incident.happened else 0)
                finally:
                    written = await asyncio.to_thread(disk.show, _VIDEOS)
                incident.detail = f"{len(written)} files and directories came into it"

    async def _has_finished_videos(self) -> bool:
        try:
            connection = await self._stage.connect()
        except Exception:  # noqa: BLE001 - the database is down, on purpose
            return False
        try:
            query = "SELECT EXISTS (SELECT FROM video_encode_transcript_encodingvideo)"
            return bool(await connection.fetchval(query))
        except Exception:  # noqa: BLE001 - it goes down
            return False
        finally:
            connection.terminate()

    async def _pretend(self, incident: Incident, seconds: float) -> None:
        for changes in ({"keep_free": _NEVER_FREE}, {}):
            told = []
            for daemon in self._stage.daemons:
                async with daemon.config_busy:
                    daemon.write_config(imports=dict(changes))
                    before = daemon.told("config.reloaded")
                    if daemon.is_ready():
                        daemon.hang_up()
                        told.append(await daemon.tells("config.reloaded", before))
            incident.happened = incident.happened or any(told)
            if changes:
                await asyncio.sleep(seconds)
