"""Files of a made-up Pod's media tree: sources that really play, and the packages of the studio."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5
from xml.etree.ElementTree import Element, SubElement, tostring

STUDIO_DIRECTORY = "opencast-files"
"""Where Pod's studio leaves its packages, below MEDIA_ROOT."""

_TRACKS = ("presenter", "presentation")

# The smallest picture there is: one transparent pixel.
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)

_PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-ENDLIST\n"


def put_file(media_root: Path, relative: str) -> Path:
    """Put a file that suits its extension at a path below MEDIA_ROOT, whose folders are made.

    ``.mp3`` is a few seconds of sound, ``.png`` a picture, ``.m3u8`` an empty playlist; all else is a few
    seconds of film.
    """
    target = media_root / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    match target.suffix.lower():
        case ".png":
            target.write_bytes(_PNG)
        case ".m3u8":
            target.write_text(_PLAYLIST, encoding="ascii")
        case ".mp3":
            _copy_sample("source.mp3", target)
        case _:
            _copy_sample("source.mp4", target)
    return target


_NAMESPACE = "http://mediapackage.opencastproject.org"


def put_studio_package(media_root: Path, base_url: str, number: int) -> Path:
    """Put what the studio leaves for one recording: two films, and the XML file with their addresses.

    ``base_url`` is the site's address with Pod's MEDIA_URL, without a closing slash. The folder's name
    follows from ``number``.
    """
    package = str(_package_id(number))
    # The elements are in this namespace by inheritance: a runner looks for them there and nowhere else.
    root = Element("mediapackage", xmlns=_NAMESPACE, id=package, presenter="mid")
    media = SubElement(root, "media")
    for position, track in enumerate(_TRACKS, 1):
        relative = f"{STUDIO_DIRECTORY}/{package}/{track}_source.mp4"
        put_file(media_root, relative)
        element = SubElement(media, "track", id=str(position), type=f"{track}/source")
        SubElement(element, "mimetype").text = "video/mp4"
        SubElement(element, "url").text = f"{base_url}/{relative}"
    target = media_root / STUDIO_DIRECTORY / package / f"{package}.xml"
    target.write_bytes(tostring(root, encoding="utf-8", xml_declaration=True))
    return target


def _package_id(number: int) -> UUID:
    return uuid5(NAMESPACE_URL, f"studio-package:{number}")


def _copy_sample(name: str, target: Path) -> None:
    with as_file(files("poddispatchd.sandbox").joinpath("samples", name)) as sample:
        shutil.copyfile(sample, target)
