"""Cut tables that have been built."""

from contextlib import suppress

from sqlalchemy import select

from app.core.splitting.cut_table import CutTable, Family
from app.store.database import ReadConnection, WriteConnection
from app.store.packing import OldTableError, unpack_table
from app.store.tables import cut_tables
from app.store.upserts import upsert


def put(connection: WriteConnection, model_id: str, family: Family, table: bytes) -> None:
    """Keep a packed table, in place of one that is there already."""
    values = {"model_id": model_id, "family": family.value, "body": table}
    connection.execute(upsert(connection, cut_tables, values))


def all_of(connection: ReadConnection, model_id: str) -> dict[Family, CutTable]:
    """The tables of a model that are there, but for those of an older version, which are built anew
    when they are asked for."""
    query = select(cut_tables.c.family, cut_tables.c.body).where(cut_tables.c.model_id == model_id)
    found = {}
    for family, body in connection.execute(query):
        with suppress(OldTableError):
            found[Family(family)] = unpack_table(body)
    return found
