"""The organisations that receive donations."""

from typing import Annotated

import msgspec
from sqlalchemy import Connection, Engine, select

from amply.jobs.records import insert_new, reading
from amply.jobs.schema import organisations

# Text that both databases can hold; PostgreSQL has no NUL.
OrganisationId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]+\Z")]


def ensure(connection: Connection, organisation_id: str, now_ms: int) -> None:
    """Make the organisation known, with its id for a name, unless it is already."""
    msgspec.convert(organisation_id, OrganisationId)
    insert_new(connection, organisations, {"id": organisation_id, "name": organisation_id, "created_ms": now_ms})


def known(engine: Engine) -> list[str]:
    """The ids of all organisations, in order."""
    with reading(engine) as connection:
        return list(connection.scalars(select(organisations.c.id).order_by(organisations.c.id)))
