"""Secrets that are not seen by chance."""

import logging
import pickle

import msgspec
import pytest

from amply.broker.auth.keys import Key
from amply.broker.auth.secret import Secret

TEXT = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKEY"


def test_a_secret_is_not_in_anything_that_is_made_of_it(caplog):
    secret = Secret(TEXT)
    key = Key("AKIAX", secret, "worker", "laptop", 1, session_token=Secret(TEXT))
    logging.getLogger("test").warning("%s %r", secret, key)
    for text in (str(secret), repr(secret), f"{secret}", f"{key}", repr([key]), str({"a": secret}), caplog.text):
        assert "wJalr" not in text
        assert "***" in text
    assert secret.reveal() == TEXT


def test_encoders_refuse_a_secret():
    key = Key("AKIAX", Secret(TEXT), "worker", "laptop", 1)
    for encode in (msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps):
        with pytest.raises(TypeError):
            encode(key)


def test_secrets_are_equal_by_their_text():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\ud800ü") == Secret("\ud800ü")
