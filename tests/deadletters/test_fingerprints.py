"""Failures of one kind have one fingerprint, whatever they tell; others have others."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.deadletters.fingerprints import fingerprint

sys.path.insert(0, str(Path(__file__).parent))
from causes_raised import Told, told


def kind(call, *args):
    return fingerprint(*told(call, *args))


def kind_of(message, traceback=""):
    return fingerprint("raised", "Error", message, traceback)


# Five different places and ways to fail.


def charge(donation, amount):
    if amount < 0:
        raise ValueError(f"donation {donation} has the amount {amount}")
    return refund(donation)


def refund(donation):
    raise ValueError(f"donation {donation} was refunded before")


def look_up(name):
    return {}[name]


def connect(host, port):
    raise ConnectionError(f"{host}:{port} refused the connection")


def chained(host, port):
    try:
        connect(host, port)
    except ConnectionError as error:
        raise RuntimeError(f"receipt {port} was not sent") from error


def test_five_causes_are_five_kinds_and_each_is_one_whatever_it_tells():
    causes = [
        [(charge, number, -number - 1) for number in (1, 20, 4711)],
        [(charge, number, 1) for number in ("8d7f6a52-67b1-4be3-8f53-1fbd2f0bd0ab", 2, "0x7f3a")],
        [(look_up, name) for name in ("anna", "it's", "a \"b\" 'c'", "x" * 3000)],
        [(connect, "db-1.internal", 5432), (connect, "10.0.0.7", 5433), (connect, "mail.example.org", 25)],
        [(chained, "db-1.internal", 5432), (chained, "::1", 7)],
    ]
    kinds = [{kind(*call) for call in calls} for calls in causes]
    assert [len(each) for each in kinds] == [1] * 5
    assert len(set.union(*kinds)) == 5
    assert all(re.fullmatch("[0-9a-f]{12}", each) for each in set.union(*kinds))


def test_other_line_numbers_and_another_home_of_the_code_are_the_same_kind():
    before = told(charge, 1, -1)
    lines = re.sub(r"line (\d+)", lambda found: f"line {int(found[1]) + 17}", before.traceback)
    moved = re.sub(r'File "[^"]*/tests/', 'File "C:\\\\apps\\\\tests/', lines)
    assert moved != before.traceback
    assert fingerprint(*before) == fingerprint(*before._replace(traceback=moved))


@pytest.mark.parametrize("folder", ["releases/20260102030405", "tmp/tmpab12x_", "builds/0a1b2c3d4e5f"])
def test_a_folder_that_changes_with_each_release_is_the_same_kind(folder):
    here = f'  File "/srv/{folder}/app.py", line 1, in run\n'
    there = '  File "/srv/{}/app.py", line 1, in run\n'.format(re.sub(r"\w{6}$", "9f8e7d", folder))
    assert here != there
    assert kind_of("", here) == kind_of("", there) != kind_of("", here.replace("app.py", "other.py"))


def test_reason_exception_message_file_and_function_each_make_another_kind():
    one = Told("raised", "ValueError", "too late", '  File "/app/jobs/a.py", line 1, in run\n    call()\n')
    others = [
        one._replace(reason="time limit"),
        one._replace(exception="TypeError"),
        one._replace(message="too early"),
        one._replace(traceback=one.traceback.replace("a.py", "b.py")),
        one._replace(traceback=one.traceback.replace("in run", "in walk")),
        one._replace(traceback=""),
    ]
    assert len({fingerprint(*each) for each in [one, *others]}) == 7


def through(steps, call, *args):
    return call(*args) if steps == 0 else through(steps - 1, call, *args)


def test_recursion_of_any_depth_is_one_kind():
    assert len({kind(through, depth, refund, 1) for depth in (1, 2, 30, 300)}) == 1


def test_a_traceback_that_was_cut_is_of_the_same_kind_as_a_whole_one():
    def deep(donation):
        # Frames that are not alike, so that the traceback is long.
        space = {"call": lambda: charge(donation, 1)}
        for letter in "abcdefghijklmnopqrstuvwxyz":
            exec(f"def {letter * 20}(inner=call): return inner()\ncall = {letter * 20}", space)
        space["call"]()

    whole = told(deep, 1)
    assert fingerprint(*whole) == fingerprint(*whole._replace(traceback=whole.traceback[-1_500:]))


def grouped(numbers, call=refund):
    async def run():
        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(fail(number))

    async def fail(number):
        call(number)

    asyncio.run(run())


def test_an_exception_group_is_one_kind_however_many_failed_and_another_with_other_exceptions_in_it():
    assert kind(grouped, [1]) == kind(grouped, [1, 22, 333]) == kind(grouped, range(60))
    assert kind(grouped, [1]) != kind(grouped, [1], look_up)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("took 1 s", "took 2.5 s"),
        ("row 1, 2 and 3", "row 77, 8 and 9"),
        ("missing: [1, 2, 3]", "missing: [4]"),
        ("<Thing object at 0x7f01>", "<Thing object at 0x8f02ab>"),
        ("key deadbeef is gone", "key 0badcafe is gone"),
        ("no user 'anna'", "no user 'bob\\'s'"),
        ('no user "anna"', 'no user "o\'hara"'),
        ("can't read 'a'", "can't read 'b c'"),
        ("bad value: 'aaaa", "bad value: 'bbbbbbbb"),
        ("GET https://a.example/b?c=d failed", "GET http://x.example/ failed"),
        ("api.example.com is down", "www.example.org is down"),
        ("redis:6379 is down", "cache:6380 is down"),
        ("fe80::1:2 is down", "::1 is down"),
        ("anna@example.com is unknown", "bob+x@host is unknown"),
        ("cannot open /var/data/a.txt now", "cannot open /srv/b now"),
        ("at 2026-11-22 10:11:12.5 it failed", "at 2027-01-02 00:00:00 it failed"),
        ("{'a': 1, 'b': [2, 3]} is wrong", "{'c': 1} is wrong"),
        ("a\n   b", "a b"),
        ("same " * 40 + "tail one", "same " * 40 + "tail two"),
    ],
)
def test_values_in_a_message_do_not_matter(one, other):
    assert kind_of(one) == kind_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("card was declined", "card was stolen"),
        ("no user 'anna'", "no account 'anna'"),
        ("can't read 'a'", "can't write 'a'"),
        (
            "Worker exited prematurely: signal 9 (SIGKILL) Job: 1.",
            "Worker exited prematurely: signal 11 (SIGSEGV) Job: 1.",
        ),
        ("this and/or that", "this and/or more"),
    ],
)
def test_words_in_a_message_do_matter(one, other):
    assert kind_of(one) != kind_of(other)


@given(st.text(), st.text(), st.text(), st.text())
def test_every_text_has_a_fingerprint(reason, exception, message, traceback):
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(reason, exception, message, traceback))


@pytest.mark.parametrize(
    "text", ["\ud800", "'" * 1_000_000, "\\'" * 500_000, "a-" * 500_000, "a." * 500_000, "0:" * 500_000, "| " * 500_000]
)
def test_hostile_texts_cost_no_more_than_others(text):
    assert fingerprint(text[:100], text[:100], text, text)
