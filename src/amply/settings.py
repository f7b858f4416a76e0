"""What the environment says. The only module that reads environment variables, and the only list of them."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from amply.errors import AmplyError

VARIABLES = {
    "AMPLY_DATA": "The folder for everything that is kept on this machine; ./amply-data unless set.",
    "AMPLY_TOPOLOGY": "The topology file to use instead of the one that comes with amply.",
    "AWS_ENDPOINT_URL": "Where all AWS services are called; AWS_ENDPOINT_URL_SQS goes before it.",
    "AWS_ENDPOINT_URL_SQS": "Where SQS is called, like http://127.0.0.1:9324; Amazon SQS itself unless set.",
    "DATABASE_URL": "The database of the jobs, as SQLAlchemy writes it; amply.db in the data folder unless set.",
    "REDIS_URL": "The Redis that keeps the results of jobs; results.sqlite in the data folder unless set.",
}

_ENDPOINT_SCHEMES = ("http", "https")
_REDIS_SCHEMES = ("redis", "rediss", "redis+socket")


class SettingsError(AmplyError):
    """An environment variable holds what it cannot mean."""

    exit_code = 2


class Settings(Struct, frozen=True, kw_only=True):
    """`topology` is None for the packaged one, `sqs_endpoint_url` None for Amazon SQS; `data` is absolute."""

    topology: Path | None
    sqs_endpoint_url: str | None
    result_backend: str
    database_url: str
    data: Path


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in an environment. A variable that is empty counts as not set. SettingsError names the variable."""
    data = Path(environ.get("AMPLY_DATA") or "amply-data").absolute()
    topology = environ.get("AMPLY_TOPOLOGY")
    redis_url = _url(environ, "REDIS_URL", _REDIS_SCHEMES)
    endpoint_url = _url(environ, "AWS_ENDPOINT_URL_SQS", _ENDPOINT_SCHEMES)
    if endpoint_url is None:
        endpoint_url = _url(environ, "AWS_ENDPOINT_URL", _ENDPOINT_SCHEMES)
    return Settings(
        topology=Path(topology).absolute() if topology else None,
        sqs_endpoint_url=endpoint_url,
        result_backend=redis_url or f"amply+sqlite:///{data / 'results.sqlite'}",
        database_url=environ.get("DATABASE_URL") or f"sqlite:///{data / 'amply.db'}",
        data=data,
    )


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's whole environment with some variables changed, for a process that it starts."""
    return {**os.environ, **changes}


def _url(environ: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        scheme, has_place = urlsplit(text).scheme, bool(urlsplit(text).netloc or urlsplit(text).path.strip("/"))
    except ValueError:  # as for "http://[::1"
        scheme, has_place = "", False
    if scheme not in schemes or not has_place:
        # The value is not shown: a URL often holds a password.
        raise SettingsError(
            f"{name} is not a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}.",
            hint=f"Set {name} to one, or unset it. {VARIABLES[name]}",
        )
    return text
