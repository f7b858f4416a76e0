"""Where a webhook may go: the rules for URLs and for network addresses. Pure; looks nothing up and opens nothing.

The rules for addresses are ours, stricter than `ipaddress.is_global`, which counts addresses as global that lead back
inside: NAT64 and 6to4 forms of private ones, cloud metadata services, multicast.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

import httpx

from amply.errors import AmplyError

Address = IPv4Address | IPv6Address

_URL_CHARACTERS_MAX = 2048
_PUBLIC_PORTS = frozenset({80, 443})

# Beyond what `is_global` refuses. Each can carry or stand for an address that is not public.
_NEVER_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT, and a cloud's metadata service
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # a cloud's own service address
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local use
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
    )
)

# What `allow_private` adds: this machine and private networks. Never link-local, where metadata services live.
_PRIVATE = tuple(ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_PRIVATE += tuple(ip_network(text) for text in ("::1/128", "fc00::/7"))
_METADATA = (ip_address("fd00:ec2::254"),)


class WebhookUrlError(AmplyError):
    """A webhook's URL cannot be used."""


class Target(NamedTuple):
    """Where a POST goes. `host` is in ASCII form; `path` holds the query too."""

    scheme: str
    host: str
    port: int
    path: str


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet's, whatever form it is written in."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if inner is not None:
        return is_public(inner)
    refused = (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or any(address in network for network in _NEVER_PUBLIC if network.version == address.version)
    )
    return address.is_global and not refused


def is_allowed(address: Address, *, allow_private: bool) -> bool:
    """Whether a webhook may be sent to the address; `allow_private` adds this machine and private networks."""
    if is_public(address):
        return True
    within = any(address in network for network in _PRIVATE if network.version == address.version)
    return allow_private and within and address not in _METADATA


def read_target(url: str, *, allow_private: bool) -> Target:
    """Take a webhook's URL apart.

    Raises:
        WebhookUrlError: not http or https, carries a user or password, names no host, writes an address in an unusual
            form, or (without `allow_private`) uses another port than 80 and 443 or names an address that is not public.
    """
    if len(url) > _URL_CHARACTERS_MAX or not url.isprintable() or " " in url:
        raise _unusable("it is too long, or holds spaces or control characters")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").strip("[]")
    except (httpx.InvalidURL, ValueError):
        raise _unusable("it is not a URL") from None
    if parsed.scheme not in ("http", "https"):
        raise _unusable("it is neither http nor https")
    if parsed.userinfo:
        raise _unusable("it carries a user name or password")
    port = parsed.port if parsed.port is not None else {"https": 443, "http": 80}[parsed.scheme]
    if port not in _PUBLIC_PORTS and not (allow_private and port):
        raise _unusable("its port is neither 443 nor 80")
    _check_host(host, allow_private=allow_private)
    return Target(parsed.scheme, host, port, parsed.raw_path.decode("ascii"))


def _check_host(host: str, *, allow_private: bool) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        labels = host.split(".")
        if not all(labels):
            raise _unusable("its host name has an empty part") from None
        # The system's resolver reads 127.1, 2130706433 and 0x7f000001 as addresses too.
        if labels[-1][0].isdigit():
            raise _unusable("its host is an address in an unusual form") from None
        return
    if "%" in host or not is_allowed(address, allow_private=allow_private):
        raise _unusable("its address is not a public one")


def _unusable(why: str) -> WebhookUrlError:
    return WebhookUrlError(
        f"The webhook URL cannot be used: {why}.", hint="Use an https URL of a host on the public internet."
    )
