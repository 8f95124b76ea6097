"""Pod's tables, made from scratch in an empty database."""

from enum import StrEnum
from typing import assert_never

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries, render


class SchemaVariant(StrEnum):
    """Pod with its file manager (``USE_PODFILE = True``) or without: where foreign keys to files point."""

    PODFILE = "podfile"
    NOPODFILE = "nopodfile"

    @property
    def custom_image(self) -> str:
        """The table of thumbnails and other stored images."""
        return f"{self._application}_customimagemodel"

    @property
    def custom_file(self) -> str:
        """The table of subtitles and other stored files."""
        return f"{self._application}_customfilemodel"

    @property
    def _application(self) -> str:
        match self:
            case SchemaVariant.PODFILE:
                return "podfile"
            case SchemaVariant.NOPODFILE:
                return "main"
            case _:
                assert_never(self)


async def create_schema(connection: Connection, variant: SchemaVariant) -> None:
    """Make Pod's tables in the connection's database, all or none."""
    async with connection.transaction():
        for query in load_queries(__package__, "schema.sql").values():
            await connection.execute(
                *render(query, custom_image=variant.custom_image, custom_file=variant.custom_file)()
            )


async def upgrade_schema(connection: Connection) -> None:
    """Add what Pod 4.4 has besides, to the tables of ``create_schema``."""
    await connection.execute("ALTER TABLE runner_manager ADD COLUMN admin_url varchar(250)")
    await connection.execute("UPDATE runner_manager SET admin_url = url || 'admin' WHERE admin_url IS NULL")
