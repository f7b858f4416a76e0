"""What a process needs in its environment to reach the same SQS and the same data folder as the one that starts it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from amply import settings
from amply.broker.server import hosts

_F = TypeVar("_F", bound=Callable[..., Any])

# The embedded broker takes any; botocore wants some before it sends anything at all.
_LOCAL_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "amply-local", "AWS_SECRET_ACCESS_KEY": "amply-local"}


def _check_url(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    if url is not None and (not url.startswith(("http://", "https://")) or not _host(url)):
        raise click.BadParameter(f"{url!r} is not a URL like http://127.0.0.1:9324.", context, parameter)
    return url


def endpoint_option(function: _F) -> _F:
    """Give a command `--endpoint`; it gets `endpoint`, None unless given."""
    return click.option(
        "--endpoint",
        metavar="URL",
        callback=_check_url,
        help="Where SQS is; by default AWS_ENDPOINT_URL_SQS, or else Amazon's own endpoint.",
    )(function)


def child_environment(*, endpoint_url: str | None, region: str, data: Path) -> dict[str, str]:
    """The whole environment for a child. Where the endpoint is this machine, what botocore insists on is filled in."""
    changes = {"AMPLY_DATA": str(data), "PYTHONUNBUFFERED": "1"}
    if endpoint_url is not None:
        changes["AWS_ENDPOINT_URL_SQS"] = endpoint_url
    inherited = settings.child_environment({})
    return {**inherited, **changes, **local_credentials(endpoint_url, region, inherited)}


def local_credentials(endpoint_url: str | None, region: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Credentials and a region for an endpoint on this machine, where `environ` names none; else nothing."""
    if endpoint_url is None or not is_loopback(endpoint_url):
        return {}
    found: dict[str, str] = {}
    if not environ.get("AWS_ACCESS_KEY_ID") and not environ.get("AWS_PROFILE"):
        found |= _LOCAL_CREDENTIALS
    if not environ.get("AWS_DEFAULT_REGION") and not environ.get("AWS_REGION"):
        found["AWS_DEFAULT_REGION"] = region
    return found


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine and no other."""
    return hosts.is_loopback(_host(url))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # as for "http://[::1"
        return ""
