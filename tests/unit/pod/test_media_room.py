"""One package touches MEDIA_ROOT (invariant I14): no other calls what opens, makes or deletes files."""

import ast
from collections.abc import Iterable

import pytest

from tests.unit.sources import of_the_product

_OS = {
    *(
        "open",
        "mkdir",
        "makedirs",
        "mkfifo",
        "mknod",
        "rename",
        "renames",
        "replace",
        "link",
        "symlink",
        "readlink",
    ),
    *(
        "unlink",
        "remove",
        "rmdir",
        "removedirs",
        "scandir",
        "listdir",
        "walk",
        "fwalk",
        "stat",
        "lstat",
        "access",
    ),
    *(
        "chmod",
        "lchmod",
        "chown",
        "lchown",
        "truncate",
        "utime",
        "statvfs",
        "chdir",
        "fsync",
        "fchmod",
        "ftruncate",
    ),
    *("setxattr", "getxattr", "copy_file_range", "sendfile"),
}
_OS_PATH = {
    "exists",
    "lexists",
    "isfile",
    "isdir",
    "islink",
    "ismount",
    "getsize",
    "getmtime",
    "realpath",
    "samefile",
}
_OTHERS = {
    "shutil": {
        "rmtree",
        "copy",
        "copy2",
        "copyfile",
        "copytree",
        "copymode",
        "copystat",
        "move",
        "disk_usage",
        "chown",
    },
    "tempfile": {"mkdtemp", "mkstemp", "TemporaryFile", "NamedTemporaryFile", "TemporaryDirectory"},
    "fcntl": {"flock", "lockf"},
    "glob": {"glob", "iglob"},
    "io": {"open"},
}
_PATH_METHODS = {
    *(
        "mkdir",
        "rmdir",
        "unlink",
        "touch",
        "symlink_to",
        "hardlink_to",
        "chmod",
        "lchmod",
        "iterdir",
        "rglob",
    ),
    *("write_text", "write_bytes", "read_text", "read_bytes", "lstat", "is_symlink", "is_fifo", "is_socket"),
    *("samefile", "is_dir", "expanduser"),
}

_DIRECTORY = "a method of Directory, not of a path"
_ALLOWED = {
    "pod/media/directory.py": "the descriptors themselves: each call is made relative to an opened directory",
    "pod/media/opened.py": "the descriptors of opened files",
    "pod/media/access.py": _DIRECTORY,
    "pod/media/files.py": _DIRECTORY,
    "pod/media/placing.py": _DIRECTORY,
    "build.py": "reads the commit that comes with the package",
    "app/go_live_checks.py": "looks at the file of the configuration and its mode",
    "web/page.py": "reads the parts of the page that come with the package",
    "cli/campaigns.py": "reads the query that an administrator names",
    "cli/config.py": "writes the configuration that is imported from Pod",
    "cli/db_setup.py": "looks whether another user can read the program",
    "cli/environment_files.py": "reads the files of variables that the unit names",
    "cli/terminal.py": "opens standard streams that were closed, or that nobody reads any more",
    "config/certificate_files.py": "reads the certificates that the settings name",
    "config/loading.py": "reads the configuration",
    "database/connect_errors.py": "looks which certificate or key of the address cannot be read",
    "database/services.py": "finds the services of libpq in the user's directory",
    "database/migration.py": "reads the statements that come with the package",
    "database/queries.py": "reads the statements that come with the package",
    "observability/log_stream.py": "opens the daemon's own standard error once more",
    "notify/checks.py": "looks for the command after an import",
    "runtime/instances.py": "looks for other processes under /proc",
}
"""Modules that may touch files, each with the reason: none under MEDIA_ROOT, but by descriptors."""


def _touches(nodes: Iterable[ast.AST]) -> list[str]:
    """What in a module works on files by name."""
    found = []
    for node in nodes:
        match node:
            case ast.ImportFrom(module=str(module)):
                forbidden = {"os": _OS, "os.path": _OS_PATH, **_OTHERS}.get(module, set())
                found += [alias.name for alias in node.names if alias.name in forbidden]
            case ast.Call(func=ast.Name(id="open")):
                found.append("open")
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="os"), attr="path"), attr=name):
                found += [f"os.path.{name}"] if name in _OS_PATH else []
            case ast.Attribute(value=ast.Name(id="os"), attr=name):
                found += [f"os.{name}"] if name in _OS else []
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in _OTHERS:
                found += [f"{owner}.{name}"] if name in _OTHERS[owner] else []
            case ast.Attribute(attr=name):
                found += [name] if name in _PATH_METHODS else []
            case _:
                pass
    return found


def test_no_other_module_works_on_files_by_their_names() -> None:
    touching = {source.name: touched for source in of_the_product() if (touched := _touches(source.nodes))}
    others = {name: touched for name, touched in touching.items() if name not in _ALLOWED}
    assert others == {}
    idle = set(_ALLOWED) - set(touching)
    assert idle == set(), "an exception that is not needed any more"


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.open('x', 0)",
        "from os import rename",
        "import shutil\nshutil.rmtree('x')",
        "import tempfile\ntempfile.mkdtemp()",
        "from pathlib import Path\nPath('x').write_text('y')",
        "open('x')",
        "import os\nos.path.exists('x')",
    ],
)
def test_what_is_forbidden_is_found(source: str) -> None:
    assert _touches(ast.walk(ast.parse(source)))
