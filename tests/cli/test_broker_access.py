"""Which brokers `amply broker` starts, and which it does not: address, mode, TLS."""

import pytest

from amply.cli import broker_access
from amply.cli.broker_access import AccessError, is_loopback, mode
from amply.cli.main import run

LOOPBACK = ("127.0.0.1", "127.1.2.3", "::1", "localhost")
NETWORK = ("0.0.0.0", "::", "10.0.0.1", "192.168.1.7", "2001:db8::1", "broker.example")


def chosen(host, auth=None, *, has_tls=False, is_plain=False, allowed_hosts=()):
    return mode(auth, host, has_tls=has_tls, is_plain=is_plain, allowed_hosts=allowed_hosts)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_open_unless_asked_to_be_strict(host):
    assert is_loopback(host)
    assert chosen(host) == "open"
    assert chosen(host, allowed_hosts=("amply",)) == "open"
    assert chosen(host, has_tls=True) == "open"
    assert chosen(host, "strict") == "strict"


@pytest.mark.parametrize("host", NETWORK)
def test_every_other_address_is_strict(host):
    assert not is_loopback(host)
    assert chosen(host, has_tls=True) == "strict"
    assert chosen(host, is_plain=True) == "strict"


@pytest.mark.parametrize("host", NETWORK)
@pytest.mark.parametrize("flags", [{}, {"has_tls": True}, {"is_plain": True}])
def test_an_open_broker_on_a_network_is_refused_always(host, flags):
    with pytest.raises(AccessError, match="an open broker takes requests from anybody"):
        chosen(host, "open", **flags)


@pytest.mark.parametrize("host", NETWORK)
def test_a_network_without_tls_takes_a_word(host):
    with pytest.raises(AccessError, match="without TLS they can read every message") as caught:
        chosen(host)
    assert "--no-tls" in caught.value.hint


def test_flags_that_contradict_each_other_are_refused():
    with pytest.raises(AccessError, match="contradict"):
        chosen("0.0.0.0", has_tls=True, is_plain=True)
    with pytest.raises(AccessError, match="--allow-host is for an open broker"):
        chosen("0.0.0.0", is_plain=True, allowed_hosts=("amply",))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "without TLS they can read every message"),
        (["--host", "0.0.0.0", "--auth", "open"], "an open broker takes requests from anybody"),
        (["--tls-key", "key.pem"], "--tls-key needs --tls-cert"),
        (["--tls-cert", "missing.pem"], "TLS cannot be spoken with missing.pem"),
    ],
)
def test_a_broker_that_would_not_be_safe_does_not_start(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.delenv("AMPLY_TOPOLOGY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(["broker", "--port", "0", "--data", str(tmp_path / "data"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_strict_broker_without_a_key_says_how_to_make_one(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("AMPLY_TOPOLOGY", raising=False)
    started = []
    monkeypatch.setattr("amply.cli.broker._run", lambda serving: started.append(serving.close()) or 0)
    assert run(["broker", "--auth", "strict", "--data", str(tmp_path)]) == 0
    assert f"amply key create ROLE --data {tmp_path}" in capsys.readouterr().err
    assert started


def test_the_packaged_roles_can_all_be_enforced():
    from amply.topology.load import PACKAGED, load

    assert list(broker_access.policies_of(load(None), PACKAGED)) == [role.name for role in load(None).roles]
