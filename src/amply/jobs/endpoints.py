"""The registered webhook endpoints of organisations: a URL, its secrets, and whether it is in use.

Knows the store's rows of them. Must not know deliveries.
"""

import logging

import msgspec
from sqlalchemy import Connection, Engine, select, update

from amply.errors import AmplyError
from amply.ids import Ids, RandomIds
from amply.jobs import organisations
from amply.jobs.addresses import read_target
from amply.jobs.records import reading, writing
from amply.jobs.schema import endpoints
from amply.jobs.signatures import key_of, new_secret

_log = logging.getLogger(__name__)

# While a secret is exchanged, receivers may know either; more than two means that an exchange never ended.
_SECRETS_MAX = 2


class UnknownEndpointError(AmplyError):
    """No endpoint has this id."""

    exit_code = 3


class Endpoint(msgspec.Struct, frozen=True):
    """`secrets` holds one, or two while one is exchanged, the newest first. They never show in a repr."""

    id: str
    organisation_id: str
    url: str
    secrets: tuple[str, ...]
    allow_private: bool
    enabled: bool

    def __repr__(self) -> str:
        return f"Endpoint(id={self.id!r}, url={self.url!r}, enabled={self.enabled})"


def register(
    engine: Engine,
    *,
    organisation_id: str,
    url: str,
    now_ms: int,
    endpoint_id: str | None = None,
    secret: str | None = None,
    allow_private: bool = False,
    ids: Ids | None = None,
) -> Endpoint:
    """Register an endpoint, or give the one with this id a new URL, secret and permission and put it in use again.

    Without `secret` it gets a new random one. `allow_private` lets it name this machine or a private network: for
    tests and demonstrations, never for a stranger's endpoint.

    Raises:
        WebhookUrlError, WebhookSecretError: the URL or the secret cannot be used.
    """
    read_target(url, allow_private=allow_private)
    secrets = (secret or new_secret(),)
    key_of(secrets[0])
    endpoint = Endpoint(
        id=endpoint_id or f"ep_{(ids or RandomIds()).message_id()}",
        organisation_id=organisation_id,
        url=url,
        secrets=secrets,
        allow_private=allow_private,
        enabled=True,
    )
    row = {**msgspec.structs.asdict(endpoint), "secrets": " ".join(secrets)}
    with writing(engine) as connection:
        organisations.ensure(connection, organisation_id, now_ms)
        changed = connection.execute(update(endpoints).where(endpoints.c.id == endpoint.id).values(row)).rowcount
        if not changed:
            connection.execute(endpoints.insert().values({**row, "created_ms": now_ms}))
    if allow_private:
        _log.warning("webhook endpoint %s may name private addresses", endpoint.id)
    return endpoint


def exchange_secret(engine: Engine, endpoint_id: str) -> Endpoint:
    """Give the endpoint a new secret beside its newest; both sign until the next exchange.

    Raises:
        UnknownEndpointError: no endpoint has this id.
    """
    with writing(engine) as connection:
        endpoint = find(connection, endpoint_id)
        secrets = (new_secret(), *endpoint.secrets)[:_SECRETS_MAX]
        connection.execute(update(endpoints).where(endpoints.c.id == endpoint_id).values(secrets=" ".join(secrets)))
    return msgspec.structs.replace(endpoint, secrets=secrets)


def find(connection: Connection, endpoint_id: str) -> Endpoint:
    """The endpoint with this id.

    Raises:
        UnknownEndpointError: there is none.
    """
    row = connection.execute(select(endpoints).where(endpoints.c.id == endpoint_id)).first()
    if row is None:
        raise UnknownEndpointError(
            f"No webhook endpoint has the id {endpoint_id!r}.", hint="Register it, then send the job again."
        )
    return Endpoint(
        id=row.id,
        organisation_id=row.organisation_id,
        url=row.url,
        secrets=tuple(row.secrets.split()),
        allow_private=row.allow_private,
        enabled=row.enabled,
    )


def in_use(engine: Engine, organisation_id: str) -> list[str]:
    """The ids of an organisation's endpoints that events are sent to."""
    wanted = (endpoints.c.organisation_id == organisation_id) & endpoints.c.enabled
    with reading(engine) as connection:
        return list(connection.scalars(select(endpoints.c.id).where(wanted).order_by(endpoints.c.id)))


def disable(connection: Connection, endpoint_id: str) -> None:
    """Send nothing to the endpoint any more, until it is registered again."""
    connection.execute(update(endpoints).where(endpoints.c.id == endpoint_id).values(enabled=False))
