import contextlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.jobs.addresses import WebhookUrlError, is_allowed, is_public, read_target

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.0"]
PUBLIC += ["2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2003::1", "::ffff:8.8.8.8"]

PRIVATE = ["127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "::1", "fd12::1"]

NEVER = ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "0.0.0.0", "255.255.255.255"]


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_of_the_public_internet_are_public(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", PRIVATE)
def test_private_networks_are_reached_with_permission_only(text):
    assert not is_allowed(ip_address(text), allow_private=False)
    assert is_allowed(ip_address(text), allow_private=True)


@pytest.mark.parametrize("text", NEVER)
def test_no_permission_opens_metadata_services_multicast_or_link_local(text):
    assert not is_allowed(ip_address(text), allow_private=True)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_one_is_never_more_public(address):
    for form in (f"::ffff:{address}", f"::{address}", f"64:ff9b::{address}"):
        assert is_public(address) or not is_public(ip_address(form))
    six_to_four = ip_address(f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::")
    assert not is_public(six_to_four)


def test_a_url_is_taken_apart():
    assert read_target("https://Hooks.Example/a%20b?c=d#e", allow_private=False) == (
        "https",
        "hooks.example",
        443,
        "/a%20b?c=d",
    )
    assert read_target("http://bücher.example", allow_private=False).host == "xn--bcher-kva.example"
    assert read_target("http://[::1]:9000/x", allow_private=True) == ("http", "::1", 9000, "/x")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "/path",
        "https://",
        "https:///path",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://hooks.example:80/",
        "unix:///run/docker.sock",
        "https://user@hooks.example/",
        "https://user:pass@hooks.example/",
        "https://hooks.example@127.0.0.1/",
        "https://hooks.example:22/",
        "https://hooks.example:0/",
        "https://hooks.example:99999/",
        "https://hooks.example./",
        "https://hooks..example/",
        "https://.example/",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nX: y",
        "https://hooks.example/\x00",
        "https://hooks.example/" + "a" * 2048,
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://１２７.0.0.1/",  # noqa: RUF001
        "http://①②⑦.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://0/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://[64:ff9b::169.254.169.254]/",
    ],
)
def test_an_unsafe_url_is_refused_at_registration(url):
    with pytest.raises(WebhookUrlError):
        read_target(url, allow_private=False)


@given(st.text(max_size=40) | st.text(max_size=40).map("http://{}".format))
def test_any_text_is_read_or_refused_with_our_own_error(text):
    with contextlib.suppress(WebhookUrlError):
        read_target(text, allow_private=True)
