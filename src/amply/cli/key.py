"""`amply key`: make, list and revoke the access keys that a strict broker asks for.

Works on the data folder, whether a broker runs or not; one that runs looks at the keys at every request.
"""

import re
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click

from amply import settings
from amply.broker.auth.keys import Key, KeyRing
from amply.broker.auth.secret import Secret
from amply.broker.server import audit
from amply.cli import output, times
from amply.cli.broker_access import KEYS_NAME, policies_of
from amply.clock import wall_ms
from amply.errors import AmplyError
from amply.ids import secret
from amply.topology.load import PACKAGED, load

# What AWS allows for the name of a role's session.
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")

_DATA = click.option(
    "--data", type=click.Path(path_type=Path), help="The data folder.  [default: $AMPLY_DATA or ./amply-data]"
)


class NotFoundError(AmplyError):
    """There is no such role or key."""

    exit_code = 3


@click.group()
def key() -> None:
    """Create, list and revoke the access keys of the broker.

    A broker that runs knows at the next request.
    """


@key.command()
@click.argument("role")
@click.option(
    "--name", help="Whom the key speaks for, in records and message attributes; the role's name unless given."
)
@click.option(
    "--for",
    "period_s",
    metavar="TIME",
    callback=times.read_period,
    help="End after a time like 30m, 12h or 7d. Comes with a session token.",
)
@_DATA
@click.option(
    "--topology",
    "topology_path",
    type=click.Path(path_type=Path),
    help="The topology file.  [default: $AMPLY_TOPOLOGY]",
)
@output.json_option
def create(
    role: str, name: str | None, period_s: int | None, data: Path | None, topology_path: Path | None, *, as_json: bool
) -> None:
    """Make a key for a ROLE of the topology, and show its secret, this once.

    Data goes to stdout as lines for an environment file; with --json, in the form that credential_process of the AWS
    configuration takes.
    """
    found = settings.read()
    path = topology_path or found.topology or PACKAGED
    roles = policies_of(load(path), path)
    if role not in roles:
        raise NotFoundError(f"there is no role {role} in {path}", hint=_known(roles))
    if name is not None and not _NAME.fullmatch(name):
        raise click.BadParameter("must be 2 to 64 letters, digits and characters of _+=,.@-", param_hint="--name")
    made = _new_key(role, name or role, period_s)
    folder = data or found.data
    ring = KeyRing(folder / KEYS_NAME)
    ring.add(made)
    _record(folder, "key-created", made)
    if as_json:
        output.write_json(_credentials(made))
        return
    for variable, text in _environment(made).items():
        click.echo(f"{variable}={text}")
    output.say(
        f"The secret is not shown again. Keep these lines in a file that only {made.name} can read (chmod 600), and "
        "set them in the environment of the process that is to use them;\n"
        f"or write them into ~/.aws/credentials as a profile. To take the key back: amply key revoke {made.access_key}"
    )


@key.command("list")
@_DATA
@output.json_option
def list_(data: Path | None, *, as_json: bool) -> None:
    """List all keys, revoked and expired ones too, without their secrets."""
    keys = KeyRing((data or settings.read().data) / KEYS_NAME).list()
    now_ms = wall_ms()
    if as_json:
        output.write_json({"version": 1, "keys": [_shown(each, now_ms) for each in keys]})
        return
    output.write_table(
        "Access keys",
        ("Key", "Role", "Name", "State", "Created", "Expires"),
        [
            (
                each.access_key,
                each.role,
                each.name,
                _state(each, now_ms),
                _time(each.created_ms),
                _time(each.expires_ms),
            )
            for each in keys
        ],
    )


@key.command()
@click.argument("key_id")
@_DATA
@output.json_option
def revoke(key_id: str, data: Path | None, *, as_json: bool) -> None:
    """Take a key back, by its KEY_ID: from the next request on it opens nothing."""
    folder = data or settings.read().data
    ring = KeyRing(folder / KEYS_NAME)
    if ring.find(key_id) is None:
        raise NotFoundError(f"there is no access key {key_id} in {ring.path}", hint="See them with: amply key list")
    now_ms = wall_ms()
    revoked = ring.revoke(key_id, now_ms)
    _record(folder, "key-revoked", revoked)
    if as_json:
        output.write_json({"version": 1, "key": _shown(revoked, now_ms)})
    else:
        output.say(f"{revoked.access_key} of {revoked.name} ({revoked.role}) is revoked.")


def _new_key(role: str, name: str, period_s: int | None) -> Key:
    """In AWS's forms: 20 capitals and digits, ASIA for what is temporary; 40 characters of secret."""
    now_ms = wall_ms()
    kind = "AKIA" if period_s is None else "ASIA"
    return Key(
        access_key=kind + b32encode(secret(10)).decode(),
        secret=_random(30),
        role=role,
        name=name,
        created_ms=now_ms,
        expires_ms=None if period_s is None else now_ms + period_s * 1000,
        session_token=None if period_s is None else _random(60),
    )


def _random(size_bytes: int) -> Secret:
    return Secret(urlsafe_b64encode(secret(size_bytes)).decode())


def _environment(made: Key) -> dict[str, str]:
    told = {"AWS_ACCESS_KEY_ID": made.access_key, "AWS_SECRET_ACCESS_KEY": made.secret.reveal()}
    if made.session_token is not None:
        told["AWS_SESSION_TOKEN"] = made.session_token.reveal()
    return told


def _credentials(made: Key) -> dict[str, object]:
    told: dict[str, object] = {
        "Version": 1,
        "AccessKeyId": made.access_key,
        "SecretAccessKey": made.secret.reveal(),
        "Role": made.role,
        "Name": made.name,
    }
    if made.session_token is not None:
        told |= {"SessionToken": made.session_token.reveal(), "Expiration": _time(made.expires_ms)}
    return told


def _shown(each: Key, now_ms: int) -> dict[str, object]:
    return {
        "access_key": each.access_key,
        "role": each.role,
        "name": each.name,
        "state": _state(each, now_ms),
        "created": _time(each.created_ms),
        "expires": _time(each.expires_ms),
        "revoked": _time(each.revoked_ms),
    }


def _state(each: Key, now_ms: int) -> str:
    if each.revoked_ms is not None:
        return "revoked"
    return "expired" if each.expires_ms is not None and each.expires_ms <= now_ms else "active"


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _record(folder: Path, event: str, made: Key) -> None:
    try:
        audit.append(
            folder / audit.FILE_NAME, event, wall_ms(), access_key=made.access_key, role=made.role, name=made.name
        )
    except OSError as error:
        output.say(f"Warning: the audit {folder / audit.FILE_NAME} could not be written: {error.strerror}")


def _known(roles: Iterable[str]) -> str:
    names = ", ".join(roles)
    return f"There are {names}." if names else "Declare it there under roles, as the packaged file does."
