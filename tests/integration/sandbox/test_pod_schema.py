"""The sandbox's tables are Pod's, column by column, and its foreign keys follow the variant."""

import csv
import re
from collections import defaultdict
from typing import TypeAlias

import pytest

from poddispatchd.sandbox.pod.schema import SchemaVariant
from tests.plugins.postgres import PodDatabase
from tests.shared import SHARED

RECORDED = [] if SHARED is None else list(SchemaVariant)

Column: TypeAlias = tuple[str, str, str, str, bool]
"""Name, type, "YES" when nullable, length, identity."""


@pytest.mark.parametrize("variant", RECORDED)
async def test_every_column_is_as_measured(pod_database: PodDatabase, variant: SchemaVariant) -> None:
    expected: dict[str, set[Column]] = defaultdict(set)
    for row in _recorded("columns", variant):
        identity = row["default"].startswith("IDENTITY")
        assert identity or not row["default"].strip('"')
        length = row["max_length"].strip('"')
        expected[row["table_name"]].add((row["column_name"], row["type"], row["nullable"], length, identity))

    actual = await _columns(pod_database)

    assert len(actual) > 55
    assert {table: expected[table] for table in actual} == actual


@pytest.mark.parametrize("variant", RECORDED)
async def test_every_constraint_is_as_measured(pod_database: PodDatabase, variant: SchemaVariant) -> None:
    expected = defaultdict(set)
    for row in _recorded("constraints", variant):
        if row["kind"] != "INDEX":
            expected[row["tbl"]].add(row["def"])
        elif "pattern_ops" not in row["def"]:
            expected[row["tbl"]].add(_index_columns(row["def"]))

    actual = await _constraints(pod_database)

    assert {table: expected[table] for table in actual} == actual


@pytest.mark.parametrize("variant", list(SchemaVariant))
async def test_stored_files_belong_to_the_variant(pod_database: PodDatabase, variant: SchemaVariant) -> None:
    constraints = await _constraints(pod_database)

    def target(table: str, column: str) -> str:
        (found,) = [
            match[1]
            for text in constraints[table]
            if (match := re.match(rf"FOREIGN KEY \({column}\) REFERENCES (\w+)", text))
        ]
        return found

    assert target("video_video", "thumbnail_id") == variant.custom_image
    assert target("completion_track", "src_id") == variant.custom_file
    assert target("dressing_dressing", "watermark_id") == "podfile_customimagemodel"


async def test_foreign_keys_are_checked_at_the_end_of_a_transaction(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        not_deferred = await connection.fetch(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND NOT (condeferrable AND condeferred)"
        )
    assert not not_deferred


def _recorded(what: str, variant: SchemaVariant) -> list[dict[str, str]]:
    assert SHARED is not None
    with (SHARED / "pod-db" / f"{what}_{variant}.tsv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def _index_columns(definition: str) -> str:
    return re.sub(r"^CREATE INDEX \S+ ", "CREATE INDEX ", definition)


async def _columns(database: PodDatabase) -> dict[str, set[Column]]:
    columns: dict[str, set[Column]] = defaultdict(set)
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT table_name::text, column_name::text, data_type::text, is_nullable::text,"
            " character_maximum_length, is_identity = 'YES' AS identity, column_default"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        )
    names = {"character varying": "varchar", "timestamp with time zone": "timestamptz"}
    for row in rows:
        assert row["column_default"] is None
        kind = names.get(row["data_type"], row["data_type"])
        length = "" if row["character_maximum_length"] is None else str(row["character_maximum_length"])
        columns[row["table_name"]].add(
            (row["column_name"], kind, row["is_nullable"], length, row["identity"])
        )
    return dict(columns)


async def _constraints(database: PodDatabase) -> dict[str, set[str]]:
    constraints: dict[str, set[str]] = defaultdict(set)
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT conrelid::regclass::text AS tbl, pg_get_constraintdef(oid) AS def FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
        )
        indexes = await connection.fetch(
            "SELECT tablename::text AS tbl, indexdef AS def FROM pg_indexes"
            " WHERE schemaname = 'public' AND indexdef LIKE 'CREATE INDEX%'"
        )
    for row in rows:
        constraints[row["tbl"]].add(row["def"])
    for row in indexes:
        constraints[row["tbl"]].add(_index_columns(row["def"]))
    return dict(constraints)
