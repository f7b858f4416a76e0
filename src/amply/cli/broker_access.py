"""Who may reach a broker and who may use it: the modes of `amply broker`, and what each of them needs.

Open: anybody on this machine. Strict: whoever has a key, from anywhere, over TLS unless told otherwise.
"""

import ssl
from pathlib import Path
from typing import Literal

from msgspec import Struct

from amply.broker.auth.keys import KeyRing
from amply.broker.auth.policies import Policy, parse
from amply.broker.auth.policy_errors import PolicyError
from amply.broker.server import audit
from amply.broker.server.audit import Audit
from amply.broker.server.hosts import is_loopback
from amply.clock import wall_ms
from amply.errors import AmplyError
from amply.topology import derive
from amply.topology.model import Topology

KEYS_NAME = "keys.json"


class AccessError(AmplyError):
    """A broker that would let the wrong ones in is not started."""

    exit_code = 2


class RoleError(AmplyError):
    """A role of the topology asks for what cannot be enforced."""


class Strict(Struct, frozen=True):
    """What a strict broker holds its callers to: the keys, and what their roles may do."""

    keys: KeyRing
    roles: dict[str, Policy]
    audit: Audit


def mode(
    auth: Literal["open", "strict"] | None, host: str, *, has_tls: bool, is_plain: bool, allowed_hosts: tuple[str, ...]
) -> Literal["open", "strict"]:
    """The mode that was asked for, by default open on loopback and strict elsewhere; AccessError if it is not safe."""
    chosen = auth or ("open" if is_loopback(host) else "strict")
    if has_tls and is_plain:
        raise AccessError("--tls-cert and --no-tls contradict each other")
    if chosen == "open" and not is_loopback(host):
        raise AccessError(
            f"{host} can be reached by others, and an open broker takes requests from anybody",
            hint="Leave --auth open out and make keys with `amply key create`, or listen on 127.0.0.1.",
        )
    if chosen == "strict" and allowed_hosts:
        raise AccessError(
            "--allow-host is for an open broker",
            hint="Leave it out: a strict broker answers to any name, because every signature covers the name.",
        )
    if not is_loopback(host) and not has_tls and not is_plain:
        raise AccessError(
            f"{host} can be reached by others, and without TLS they can read every message on its way",
            hint="Give --tls-cert and --tls-key; or --no-tls if the network is yours alone, or TLS ends before here.",
        )
    return chosen


def strict(topology: Topology, path: Path, data: Path) -> Strict:
    """The keys in the data folder and the roles of the topology, whose file is `path`."""
    return Strict(KeyRing(data / KEYS_NAME), policies_of(topology, path), Audit(data / audit.FILE_NAME, now_ms=wall_ms))


def policies_of(topology: Topology, path: Path) -> dict[str, Policy]:
    """The policy of every role. A condition that cannot be enforced is an error, never left out."""
    policies = {}
    for role in topology.roles:
        try:
            policies[role.name] = parse(derive.role_policy(topology, role), kind="identity")
        except PolicyError as error:
            raise RoleError(
                f"{path}: roles, {role.name}: {error.message}",
                hint=f"Correct the role, then run: amply topology check {path}",
            ) from error
    return policies


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and later, with a certificate chain and its key in PEM; in one file if `key` is None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password it would ask for one on the terminal, or wait for it where there is none.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        names = f"{certificate} and {key}" if key else f"{certificate}"
        raise AccessError(
            f"TLS cannot be spoken with {names}: {error}",
            hint="Both are PEM files: the certificate first, then those between it and the authority's; a key without "
            "a password that belongs to the certificate.",
        ) from error
    return context
