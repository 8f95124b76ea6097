import re
from importlib.resources import files

from poddispatchd.pod.grants import grants_script, needed_rights

_TABLE = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|DELETE FROM)\s+([a-z_]+_[a-z_]+)\b")
_NO_TABLE = re.compile(r"\b([a-z_]+)(?:\s*\([a-z_, ]*\))?\s+AS\s+(?:NOT\s+)?(?:MATERIALIZED\s+)?\(")
_PRIVILEGES = {
    "FROM": "SELECT",
    "JOIN": "SELECT",
    "INTO": "INSERT",
    "UPDATE": "UPDATE",
    "DELETE FROM": "DELETE",
}


def _used() -> set[tuple[str, str]]:
    """Every table that a statement of ours names, with what it does there."""
    used: set[tuple[str, str]] = set()
    for file in files("poddispatchd.pod").joinpath("sql").iterdir():
        text = re.sub(r"--.*", "", file.read_text(encoding="utf-8"))
        named_here = set(_NO_TABLE.findall(text))
        for verb, table in _TABLE.findall(text):
            if table not in named_here and not table.startswith(("pg_", "jsonb_", "poddispatchd")):
                used.add((table, _PRIVILEGES[verb]))
    return used


def test_every_table_of_every_statement_is_granted() -> None:
    used = _used()

    assert ("runner_manager_task", "UPDATE") in used
    assert used - set(needed_rights()) == set()


def test_the_script_names_every_right() -> None:
    script = grants_script("pod daemon")

    assert "('runner_manager_task', 'SELECT, INSERT, UPDATE, DELETE')" in script
    assert script.endswith('TO "pod daemon";\n')
