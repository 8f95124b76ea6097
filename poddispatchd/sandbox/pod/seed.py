"""Fills an empty Pod with a small world that holds one of everything a task can meet."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path

from poddispatchd.database.pool import Connection
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.naming import slugify
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, SiteId
from poddispatchd.sandbox.pod.media import put_file
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import (
    QUERIES,
    Person,
    SampleRecording,
    SampleVideo,
    World,
    add_cut,
    add_dressing,
    add_encodings,
    add_recording,
    add_video,
    link,
)

_SITE_ID = SiteId(1)
_OTHER_SITE_ID = SiteId(2)

_RENDITIONS: Mapping[str, Mapping[str, object]] = {
    "640x360": {
        "minrate": "500k",
        "video_bitrate": "750k",
        "maxrate": "1000k",
        "audio_bitrate": "96k",
        "encode_mp4": True,
    },
    "1280x720": {
        "minrate": "1000k",
        "video_bitrate": "2000k",
        "maxrate": "3000k",
        "audio_bitrate": "128k",
        "encode_mp4": True,
    },
    "1920x1080": {
        "minrate": "2000k",
        "video_bitrate": "3000k",
        "maxrate": "4500k",
        "audio_bitrate": "192k",
        "encode_mp4": False,
    },
}


@dataclass(frozen=True, slots=True)
class ManagerSpec:
    """A runner manager to be entered in Pod's administration; lower priorities are served first."""

    name: str
    url: str
    token: SecretStr
    priority: int = 1
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class _PersonSpec:
    username: str
    affiliation: str | None
    """None: Pod never made an Owner row for this user."""
    accepts_notifications: bool | None = None
    is_priority: bool = False
    is_subscribed: bool = False


_PEOPLE = (
    _PersonSpec("student", "student"),
    _PersonSpec("employee", "employee", accepts_notifications=False),
    _PersonSpec("faculty", "faculty", accepts_notifications=True),
    _PersonSpec("priority", "student", is_priority=True),
    _PersonSpec("several", "['student', 'staff']"),
    _PersonSpec("unaffiliated", ""),
    _PersonSpec("helper", "staff"),
    _PersonSpec("subscriber", "employee", accepts_notifications=True, is_subscribed=True),
    _PersonSpec("ownerless", None),
)


async def seed_world(
    connection: Connection,
    media_root: Path,
    *,
    variant: SchemaVariant = SchemaVariant.PODFILE,
    site_domain: str = "pod.example.org",
    managers: Sequence[ManagerSpec] = (),
    videos: bool = True,
) -> World:
    """Fill an empty Pod: sites, people, renditions, recorders, runner managers, videos and recordings.

    Args:
        connection: of a database where ``create_schema`` ran.
        media_root: the folder that becomes MEDIA_ROOT; it is made.
        variant: the one the schema was created with.
        site_domain: the domain (and port) of the site whose id is 1.
        managers: the runner managers of that site.
        videos: False leaves videos and recordings out, for benchmarks that add their own.
    """
    await asyncio.to_thread(media_root.mkdir, parents=True, exist_ok=True)
    site = Site(_SITE_ID, site_domain)
    other_site = Site(_OTHER_SITE_ID, "other.example.org")
    async with connection.transaction():
        for each in (site, other_site):
            await connection.execute(
                *QUERIES["insert_site"](site=each.id, domain=each.domain, name=each.domain[:50])
            )
        await connection.execute(*QUERIES["advance_site_ids"]())
        people = {spec.username: await _add_person(connection, spec, site) for spec in _PEOPLE}
        types = await _add_types(connection, site)
        world = World(
            variant=variant,
            media_root=media_root,
            site=site,
            other_site=other_site,
            people=people,
            managers=[await add_manager(connection, spec, site) for spec in managers],
            types=types,
            renditions=await _add_renditions(connection, site),
            recorders=await _add_recorders(connection, site, people, types),
            videos={},
            recordings={},
        )
        if not videos:
            return world
        return replace(
            world,
            videos=await _add_videos(connection, world),
            recordings=await _add_recordings(connection, world),
        )


async def add_manager(connection: Connection, spec: ManagerSpec, site: Site) -> RunnerManager:
    """Enter a runner manager for a site."""
    manager = await connection.fetchval(
        *QUERIES["insert_manager"](
            name=spec.name,
            priority=spec.priority,
            is_active=spec.is_active,
            url=spec.url,
            token=spec.token.get_secret_value(),
            site=site.id,
        ),
    )
    return RunnerManager(
        id=ManagerId(manager),
        name=spec.name,
        priority=spec.priority,
        url=spec.url,
        token=spec.token,
        site_id=site.id,
        is_active=spec.is_active,
    )


async def _add_person(connection: Connection, spec: _PersonSpec, site: Site) -> Person:
    email = f"{spec.username}@example.org"
    is_staff = spec.affiliation not in (None, "", "student")
    user = int(
        await connection.fetchval(
            *QUERIES["insert_user"](
                username=spec.username, first_name=spec.username.title(), email=email, is_staff=is_staff
            )
        )
    )
    await connection.fetchval(*QUERIES["insert_folder"](name="home", owner=user))
    if spec.is_priority:
        await connection.execute(*QUERIES["insert_priority_user"](user=user))
    if spec.is_subscribed:
        # The address can never exist: nothing leaves the machine.
        subscription = await connection.fetchval(
            *QUERIES["insert_subscription"](endpoint="https://push.invalid/sandbox")
        )
        await connection.execute(*QUERIES["insert_push_information"](subscription=subscription, user=user))
    if spec.affiliation is None:
        return Person(user, spec.username, email, "", None)
    hashkey = hashlib.sha256(f"sandbox{spec.username}".encode()).hexdigest()
    owner = await connection.fetchval(
        *QUERIES["insert_owner"](
            user=user,
            affiliation=spec.affiliation,
            hashkey=hashkey,
            establishment="Etab_1",
            accepts_notifications=spec.accepts_notifications,
        )
    )
    await link(connection, "authentication_owner_sites", owner_id=owner, site_id=site.id)
    return Person(user, spec.username, email, spec.affiliation, hashkey)


async def _add_types(connection: Connection, site: Site) -> Mapping[str, int]:
    types = {}
    for title, slug in (("Autre", "other"), ("Cours magistral", "cours-magistral")):
        types[slug] = int(await connection.fetchval(*QUERIES["insert_type"](title=title, slug=slug)))
        await link(connection, "video_type_sites", type_id=types[slug], site_id=site.id)
    return types


async def _add_renditions(connection: Connection, site: Site) -> Mapping[str, int]:
    renditions = {}
    for resolution, columns in _RENDITIONS.items():
        query = QUERIES["insert_rendition"](resolution=resolution, **columns)
        renditions[resolution] = int(await connection.fetchval(*query))
        await link(
            connection,
            "video_encode_transcript_videorendition_sites",
            videorendition_id=renditions[resolution],
            site_id=site.id,
        )
    return renditions


async def _add_recorders(
    connection: Connection, site: Site, people: Mapping[str, Person], types: Mapping[str, int]
) -> Mapping[str, int]:
    """One recorder as its form proposes it, one with every option set, and one for a group of users."""
    bare = int(
        await connection.fetchval(
            *QUERIES["insert_recorder"](
                name="Studio bare",
                address="192.0.2.1",
                is_draft=True,
                is_restricted=False,
                password=None,
                cursus="0",
                transcript="",
                licence=None,
                allow_downloading=False,
                directory="studio-bare",
                type=types["other"],
                user=None,
            )
        )
    )
    full = int(
        await connection.fetchval(
            *QUERIES["insert_recorder"](
                name="Studio full",
                address="192.0.2.2",
                is_draft=False,
                is_restricted=True,
                password="sandbox",  # noqa: S106 - of a made-up recorder
                cursus="M",
                transcript="fr",
                licence="by-nc",
                allow_downloading=True,
                directory="studio-full",
                type=types["cours-magistral"],
                user=people["faculty"].id,
            )
        )
    )
    restricted = int(
        await connection.fetchval(
            *QUERIES["insert_recorder"](
                name="Studio restricted",
                address="192.0.2.3",
                is_draft=False,
                is_restricted=True,
                password=None,
                cursus="0",
                transcript="",
                licence=None,
                allow_downloading=False,
                directory="studio-restricted",
                type=types["other"],
                user=None,
            )
        )
    )
    for recorder in (bare, full, restricted):
        await link(connection, "recorder_recorder_sites", recorder_id=recorder, site_id=site.id)
    channel = await connection.fetchval(
        *QUERIES["insert_channel"](title="Chaîne A", slug="chaine-a", site=site.id)
    )
    theme = await connection.fetchval(
        *QUERIES["insert_theme"](title="Thème 1", slug="theme-1", channel=channel)
    )
    discipline = await connection.fetchval(
        *QUERIES["insert_discipline"](title="Mathématiques", slug="mathematiques", site=site.id)
    )
    helper = people["helper"].id
    await link(connection, "recorder_recorder_channel", recorder_id=full, channel_id=channel)
    await link(connection, "recorder_recorder_theme", recorder_id=full, theme_id=theme)
    await link(connection, "recorder_recorder_discipline", recorder_id=full, discipline_id=discipline)
    await link(connection, "recorder_recorder_additional_users", recorder_id=full, user_id=helper)
    for tag in ("algèbre", "première année"):
        row = await connection.fetchval(*QUERIES["insert_recorder_tag"](name=tag, slug=slugify(tag)))
        await link(connection, "recorder_recorder_tags", recorder_id=full, tagulous_recorder_tags_id=row)
    # Pod keeps groups of recorders and of videos apart: these two have nothing in common but their name.
    group = await connection.fetchval(*QUERIES["insert_group"](name="promotion"))
    access_group = await connection.fetchval(
        *QUERIES["insert_access_group"](display_name="promotion", code_name="promotion")
    )
    await link(
        connection, "recorder_recorder_restrict_access_to_groups", recorder_id=restricted, group_id=group
    )
    await link(connection, "authentication_accessgroup_sites", accessgroup_id=access_group, site_id=site.id)
    return {"bare": bare, "full": full, "restricted": restricted}


async def _add_videos(connection: Connection, world: World) -> Mapping[str, SampleVideo]:
    plain = await add_video(connection, world, title="Introduction", title_en="Introduction")
    student = await add_video(connection, world, title="Mon exposé", owner="student")
    priority = await add_video(connection, world, title="Une annonce", owner="priority")
    several = await add_video(connection, world, title="Un séminaire", owner="several")
    accents = await add_video(
        connection,
        world,
        title="L'été à Évry : 100 % « d'amour » & <b>",
        file_name="Été à Évry.MP4",
        owner="unaffiliated",
    )
    cut = await add_video(connection, world, title="Cours à couper", owner="faculty", duration=4)
    await add_cut(connection, cut, start=time(second=1), end=time(second=3), duration="00:00:04")
    opening = await add_video(connection, world, title="Générique de début", duration=4)
    ending = await add_video(connection, world, title="Générique de fin", duration=4)
    dressed = await add_video(connection, world, title="Cours habillé")
    watermark = await _add_watermark(connection, world, dressed.owner)
    await add_dressing(
        connection,
        dressed,
        title="Habillage",
        opening=opening,
        ending=ending,
        watermark=watermark,
        position="bottom_left",
        opacity=42,
    )
    shared = await add_video(connection, world, title="Cours partagé")
    for name in ("helper", "faculty"):
        user = world.people[name].id
        await link(connection, "video_video_additional_owners", video_id=shared.id, user_id=user)
    encoded = await add_video(connection, world, title="Cours encodé", transcript="fr", duration=4)
    await add_encodings(connection, world, encoded)
    notified = await add_video(connection, world, title="Préviens-moi", owner="subscriber")
    ownerless = await add_video(connection, world, title="Sans propriétaire", owner="ownerless")
    elsewhere = await add_video(connection, world, title="Ailleurs", site=world.other_site)
    missing = await add_video(connection, world, title="Fichier perdu", with_file=False)
    return {
        "plain": plain,
        "student": student,
        "priority": priority,
        "several": several,
        "accents": accents,
        "cut": cut,
        "opening": opening,
        "ending": ending,
        "dressed": dressed,
        "shared": shared,
        "encoded": encoded,
        "notified": notified,
        "ownerless": ownerless,
        "elsewhere": elsewhere,
        "missing": missing,
    }


async def _add_watermark(connection: Connection, world: World, person: Person) -> int:
    """An image of the file manager, which watermarks need whatever the variant."""
    path = f"files/{person.folder}/watermark.png"
    await asyncio.to_thread(put_file, world.media_root, path)
    folder = await connection.fetchval(*QUERIES["insert_folder"](name="watermarks", owner=person.id))
    return int(
        await connection.fetchval(
            *QUERIES["insert_image"](name="watermark", file=path, user=person.id, folder=folder)
        )
    )


async def _add_recordings(connection: Connection, world: World) -> Mapping[str, SampleRecording]:
    return {
        "bare": await add_recording(connection, world, title="Enregistrement n°1"),
        "full": await add_recording(connection, world, title="Enregistrement n°2", recorder="full"),
        "restricted": await add_recording(
            connection, world, title="Enregistrement n°3", recorder="restricted"
        ),
    }
