"""Where SQS is and who asks: from a broker URL and Celery's transport options, else from botocore's configuration.

Knows botocore's sessions, profiles and credentials; must not know requests. botocore reads the environment and the
files of AWS's tools, so that an operator configures workers as everything else on AWS.
"""

import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import botocore.exceptions
import botocore.session

from amply.clock import Clock, SystemClock
from amply.errors import AmplyError
from amply.transport.faults import Transient
from amply.transport.signing import Keys

# An endpoint that was named by its URL has a region only for the signature's sake; this is the one Celery's own SQS
# transport takes.
_REGION_OF_A_NAMED_ENDPOINT = "us-east-1"
# So often at most are credentials looked for anew: AWS may refuse them for minutes, and the look costs requests.
RENEWAL_MS = 5_000
# Read beside botocore's own variables, only to notice that an endpoint was configured since the last look.
_CONFIGURED_URL = ("endpoint_url", ["AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL"], None, None)
# AWS's other SDKs and its containers know the region by the first name, botocore only by the second.
_REGION = ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)
_CLOCK: Final = SystemClock()
# What botocore raises when a source of credentials fails; among them RuntimeError for a refresh that brought expired
# ones, and the operating system's and JSON's errors of a `credential_process`.
_UNAVAILABLE = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    RuntimeError,
    OSError,
    ValueError,
)


class Credentials(Protocol):
    """Who asks."""

    def keys(self) -> Keys:
        """What to sign the next request with."""

    def renew(self) -> None:
        """AWS refused what `keys` gave: look for others."""


class Endpoint(NamedTuple):
    """Where SQS is: `url` without a trailing slash; `ca_bundle` names a file or folder of authorities for TLS."""

    url: str
    region: str
    credentials: Credentials
    ca_bundle: str | None = None


class NoCredentials(AmplyError):
    """There is nothing to sign requests with."""


class GivenCredentials:
    """Keys out of a broker URL. They never change."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._keys = Keys(access_key, secret_key)

    def keys(self) -> Keys:
        """The keys that were given."""
        return self._keys

    def renew(self) -> None:
        """Do nothing: there are no others."""


class FoundCredentials:
    """Keys out of botocore's chain: environment, profiles, roles, STS, single sign-on, container, instance.

    Temporary ones are refreshed by botocore before they end. Safe to use from several threads.
    """

    def __init__(self, make_session: Callable[[], Any] = botocore.session.Session, *, clock: Clock = _CLOCK) -> None:
        self._make_session = make_session
        self._clock = clock
        self._found: Any = None
        self._looked_ms: int | None = None
        self._pid = os.getpid()

    def keys(self) -> Keys:
        """The keys as they are now.

        Raises `NoCredentials` if there never were any; `Transient` with the code "CredentialsUnavailable" if the place
        they come from does not answer.
        """
        try:
            if self._found is None or self._pid != os.getpid():
                # In a forked child anew: the lock of a refresh that another thread was at is held for ever there.
                self._look()
            if self._found is None:
                raise NoCredentials(
                    "There are no AWS credentials to sign requests to SQS with: none in the broker URL, the "
                    "environment, the profile, or the container's or instance's role.",
                    hint="Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (any values for a broker on "
                    "this machine), or write them into the broker URL: amply://key:secret@host:port",
                )
            return Keys(*self._found.get_frozen_credentials()[:3])
        except _UNAVAILABLE as error:
            # A role's service, STS or single sign-on: down, refusing, or logged out. It may be back in a moment.
            raise Transient("GetCredentials", 0, "CredentialsUnavailable", str(error)[:500]) from error

    def renew(self) -> None:
        """Look through the whole chain again, as a new process would, at most once every few seconds."""
        if self._looked_ms is None or self._clock.now_ms() - self._looked_ms >= RENEWAL_MS:
            self._look()

    def _look(self) -> None:
        # Without a lock: two threads that look at once find the same.
        self._looked_ms, self._pid = self._clock.now_ms(), os.getpid()
        # The old ones stay if there are none just now, as while a profile's file is being written.
        self._found = self._make_session().get_credentials() or self._found


def resolve(
    *,
    hostname: str | None = None,
    port: int | None = None,
    userid: str | None = None,
    password: str | None = None,
    ssl: object = None,
    region: str | None = None,
    endpoint_url: str | None = None,
) -> Endpoint:
    """The endpoint of a broker URL's parts and of the options `region` and `endpoint_url`.

    An `endpoint_url` wins over the URL's host, that over AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL and the profile's, and
    these over the region's own address, in any partition. A host of the broker URL is asked over HTTP unless `ssl` is
    set. Keys of the broker URL win over botocore's. Asks nobody for credentials yet.

    Raises AmplyError if there is neither an endpoint nor a region, or the endpoint is no URL of a host.
    """
    session = botocore.session.Session(session_vars={"configured_url": _CONFIGURED_URL, "region": _REGION})
    named = endpoint_url or (hostname and _url("https" if ssl else "http", hostname, port))
    try:
        region = region or session.get_config_variable("region")
        if named:
            url = named
            region = region or _REGION_OF_A_NAMED_ENDPOINT
        else:
            url, region = _configured(session, region)
        ca_bundle = session.get_config_variable("ca_bundle")
    except botocore.exceptions.BotoCoreError as error:
        raise AmplyError(
            f"SQS's endpoint is unknown: {str(error).rstrip('.')}.",
            hint="Set AWS_REGION or the transport option 'region', or AWS_ENDPOINT_URL_SQS for a broker of your own.",
        ) from error
    credentials = GivenCredentials(userid, password or "") if userid else FoundCredentials()
    return Endpoint(_checked(url), region, credentials, ca_bundle)


def _url(scheme: str, hostname: str, port: int | None) -> str:
    host = f"[{hostname}]" if ":" in hostname else hostname
    return f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"


# What botocore said, by everything that it depends on: it reads SQS's whole model for it (0.1 s, 9 MB), which the
# children of a process that has asked need not do again.
_answers: dict[tuple[object, ...], tuple[str, str]] = {}
_DEPENDS_ON = (
    *("profile", "configured_url", "ignore_configured_endpoint_urls"),
    *("use_fips_endpoint", "use_dualstack_endpoint"),
)


def _configured(session: Any, region: str | None) -> tuple[str, str]:
    """URL and region as botocore's own client would have them."""
    if region is None and session.get_config_variable("configured_url"):
        # botocore refuses to go without a region even where it is a matter of the signature only.
        region = _REGION_OF_A_NAMED_ENDPOINT
    key = (region, *(session.get_config_variable(name) for name in _DEPENDS_ON))
    answer = _answers.get(key)
    if answer is None:
        # With keys, so that nobody is asked for some; nothing is sent.
        client = session.create_client(
            "sqs",
            region_name=region,
            aws_access_key_id="none",
            aws_secret_access_key="none",  # noqa: S106
        )
        answer = _answers[key] = (client.meta.endpoint_url, client.meta.region_name)
        client.close()
    return answer


def _checked(url: str) -> str:
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018 - reading it checks it
        is_right = parts.scheme in {"http", "https"} and parts.hostname and parts.path in {"", "/"}
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment or parts.username:
        raise AmplyError(
            f"SQS's endpoint {url!r} is no address of a host.", hint="Write it as https://host or http://host:port"
        )
    return f"{parts.scheme}://{parts.netloc}"
