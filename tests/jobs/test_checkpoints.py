import contextlib
import sqlite3
import threading

import pytest
from sqlalchemy import select

from amply.jobs import chain, checkpoints, schema
from amply.jobs.checkpoints import UnsealedDonationError, generate_checkpoint, prove_sealed, verify_chain
from amply.jobs.donations import record_donation


def donate(*names):
    for name in names:
        record_donation({"id": name, "organisation_id": "org1", "amount_minor": 500, "currency": "EUR", "donor": "D"})


def tamper(work, sql):
    with contextlib.closing(sqlite3.connect(work.engine.url.database)) as connection, connection:
        connection.execute(sql)


def test_donations_are_sealed_once_in_the_order_they_were_recorded(work, clock):
    donate("b")
    clock.advance(1)
    donate("a")
    assert generate_checkpoint.apply().get() == {"checkpoint": 1, "donations": 2}
    assert generate_checkpoint.apply().get() == {"checkpoint": None, "donations": 0}
    donate("c")
    assert generate_checkpoint() == {"checkpoint": 2, "donations": 1}
    with work.engine.connect() as connection:
        first, second = connection.execute(select(schema.checkpoints).order_by(schema.checkpoints.c.number)).all()
    assert (first.first_donation_id, first.last_donation_id, first.leaf_count) == ("b", "a", 2)
    assert second.previous_hash == first.hash
    found = verify_chain(work.engine)
    assert found == (2, 3, 0, second.hash, ())


def test_without_donations_there_is_no_checkpoint(work):
    assert generate_checkpoint() == {"checkpoint": None, "donations": 0}
    assert verify_chain(work.engine) == (0, 0, 0, chain.NO_PREVIOUS_HASH, ())


def test_more_donations_than_one_checkpoint_holds_make_several(work, monkeypatch):
    monkeypatch.setattr(checkpoints, "LEAVES_MAX", 3)
    donate(*"abcdefg")
    assert generate_checkpoint() == {"checkpoint": 3, "donations": 7}
    assert verify_chain(work.engine).problems == ()


def test_runs_at_the_same_time_make_one_checkpoint(work):
    donate(*"abcdefgh")
    start = threading.Barrier(8)
    made = []

    def run():
        start.wait(10)
        made.append(generate_checkpoint())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(run["donations"] for run in made) == [0] * 7 + [8]
    assert verify_chain(work.engine)[:3] == (1, 8, 0)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE donations SET amount_minor = 501 WHERE id = 'a'",
        "UPDATE donations SET donor = 'E' WHERE id = 'c'",
        "UPDATE donations SET donated_ms = donated_ms + 1 WHERE id = 'b'",
        "UPDATE donations SET checkpoint_number = NULL, leaf_index = NULL WHERE id = 'b'",
        "UPDATE donations SET checkpoint_number = 9 WHERE id = 'c'",
        "UPDATE donations SET leaf_index = 2 WHERE id = 'a'",
        "DELETE FROM donations WHERE id = 'b'",
        "DELETE FROM checkpoints WHERE number = 1",
        "DELETE FROM checkpoints WHERE number = 2",
        "UPDATE checkpoints SET sealed_ms = 0 WHERE number = 1",
        "UPDATE checkpoints SET previous_hash = hash WHERE number = 2",
        "UPDATE checkpoints SET number = 7 WHERE number = 2",
        "INSERT INTO donations VALUES ('x', 'org1', '', 1, 'EUR', 0, 0, 1, 2)",
    ],
)
def test_what_is_changed_behind_the_chains_back_is_found(work, sql):
    donate("a", "b")
    generate_checkpoint()
    donate("c")
    generate_checkpoint()
    assert verify_chain(work.engine).problems == ()
    tamper(work, sql)
    assert verify_chain(work.engine).problems


def test_a_hash_kept_elsewhere_uncovers_a_chain_that_was_rewritten_as_a_whole(work):
    donate("a")
    generate_checkpoint()
    kept = verify_chain(work.engine).newest_hash
    donate("b")
    generate_checkpoint()
    assert verify_chain(work.engine, expected_hash=kept).problems == ()
    tamper(work, "UPDATE donations SET checkpoint_number = NULL, leaf_index = NULL, amount_minor = 1")
    tamper(work, "DELETE FROM checkpoints")
    generate_checkpoint()
    assert verify_chain(work.engine).problems == ()
    assert verify_chain(work.engine, expected_hash=kept).problems == (
        f"No checkpoint has the hash {kept}: the chain was cut or rewritten.",
    )


def test_a_sealed_donation_can_be_proved_and_an_unsealed_one_cannot(work):
    donate(*"abcde")
    generate_checkpoint()
    donate("f")
    checkpoint, donation, proof = prove_sealed(work.engine, "d")
    assert donation.id == "d"
    assert chain.proves(proof, donation, checkpoint.merkle_root)
    for name in ("f", "unknown"):
        with pytest.raises(UnsealedDonationError):
            prove_sealed(work.engine, name)
