"""Fair queues: a tenant that keeps the consumers busy does not make the others wait."""

import random
import sys
from collections import Counter
from heapq import heappop, heappush
from itertools import count
from pathlib import Path

import pytest

from amply.broker.engine.commands import Outgoing, Send
from amply.broker.engine.records import Content
from amply.broker.engine.window import WindowSize

sys.path.insert(0, str(Path(__file__).parent))

from settled import ACCOUNT, Broker

FAIR = (ACCOUNT, "fair")
LOUD = "loud"


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.queue(FAIR, VisibilityTimeout="600")
    return broker


def send(broker: Broker, tenant: str | None, number: int = 1) -> None:
    messages = [Outgoing(Content(f"id {tenant}", str(tenant), "sender", {}, None, tenant), None) for _ in range(number)]
    broker.run(Send(FAIR, messages))


def make_noisy(broker: Broker, tenant: str = LOUD) -> None:
    """Thirty of its messages in flight, and one more."""
    send(broker, tenant, 31)
    for _ in range(4):
        broker.receive(FAIR)


def test_without_a_noisy_tenant_messages_come_in_the_order_of_sending(broker: Broker) -> None:
    for tenant in ("a", "b", None, "a", "c"):
        send(broker, tenant)
    assert broker.bodies(FAIR) == ["a", "b", "None", "a", "c"]


def test_of_equal_tenants_none_is_noisy_however_much_they_have_in_flight(broker: Broker) -> None:
    for _ in range(40):
        for tenant in "abc":
            send(broker, tenant)
    for _ in range(12):
        broker.receive(FAIR)
    assert broker.engine.queues.existing(FAIR).tenants.noisy == {}


def test_a_tenant_with_thirty_messages_in_flight_comes_last(broker: Broker) -> None:
    make_noisy(broker)
    send(broker, LOUD, 5)
    send(broker, "quiet", 2)
    send(broker, None)
    assert broker.bodies(FAIR, 5) == ["quiet", "quiet", "None", LOUD, LOUD]


def test_a_tenant_that_used_most_of_the_time_comes_last_though_little_is_in_flight(broker: Broker) -> None:
    for _ in range(8):  # a single consumer, five seconds a message
        send(broker, LOUD)
        (delivery,) = broker.receive(FAIR)
        broker.pass_time(5)
        broker.delete(delivery, key=FAIR)
    send(broker, LOUD, 3)
    send(broker, "quiet")
    assert broker.bodies(FAIR, 1) == [LOUD]  # only now is its share looked at
    assert broker.bodies(FAIR, 2) == ["quiet", LOUD]


def test_of_several_noisy_tenants_the_one_with_the_least_in_flight_comes_first(broker: Broker) -> None:
    make_noisy(broker, "loud")
    send(broker, "louder", 70)
    for _ in range(7):
        broker.receive(FAIR)
    send(broker, "louder", 20)
    send(broker, "loud", 5)
    assert broker.bodies(FAIR) == ["loud"] * 5 + ["louder"] * 5


def test_a_tenant_of_which_nothing_is_left_is_quiet_again(broker: Broker) -> None:
    make_noisy(broker)
    queue = broker.engine.queues.existing(FAIR)
    assert list(queue.tenants.noisy) == [LOUD]
    broker.pass_time(700)  # all of it is visible again, and nobody works on it
    while deliveries := broker.receive(FAIR):
        broker.delete(*deliveries, key=FAIR)
    assert queue.tenants.noisy == {}
    send(broker, LOUD)
    send(broker, "quiet")
    assert broker.bodies(FAIR) == [LOUD, "quiet"]


@pytest.mark.parametrize("window", [2, 8, 1000])
def test_quiet_messages_behind_a_backlog_on_disk_come_first(broker: Broker, window: int) -> None:
    broker.engine.queues.existing(FAIR).window.size = WindowSize(count=window)
    send(broker, LOUD, 31)
    send(broker, LOUD, 50)
    send(broker, "behind")
    before = [body for _ in range(30) for body in broker.bodies(FAIR, 1)]
    assert set(before) == {LOUD}
    send(broker, "new")
    soon = [body for _ in range(6) for body in broker.bodies(FAIR, 1)]
    assert {"behind", "new"} <= set(soon), soon
    rest = [body for _ in range(100) for body in broker.bodies(FAIR, 10)]
    assert Counter(before + soon + rest) == {LOUD: 81, "behind": 1, "new": 1}


def test_noise_loses_and_doubles_nothing_whatever_the_window(broker: Broker) -> None:
    rng = random.Random(4)
    queue = broker.engine.queues.existing(FAIR)
    for round_number in range(60):
        queue.window.size = WindowSize(count=rng.choice((1, 3, 10, 100)), size_bytes=rng.choice((10, 1000)))
        sent, got = 0, []
        for _ in range(60):
            if rng.random() < 0.6:
                number = rng.choice((1, 3, 10))
                send(broker, rng.choice((LOUD, LOUD, LOUD, "louder", "a", "b", None)), number)
                sent += number
            got += broker.receive(FAIR, rng.choice((1, 10)))
            broker.pass_time(rng.choice((0, 1, 5)))
            if rng.random() < 0.3:
                broker.delete(*[got[i] for i in range(len(got) - 1, -1, -3)], key=FAIR)
        while deliveries := broker.receive(FAIR):
            got += deliveries
        assert len({delivery.entry.seq for delivery in got}) == sent == len(got), round_number
        broker.delete(*got, key=FAIR)
        assert broker.counts(FAIR) == (0, 0, 0)
        if round_number % 3 == 0:
            broker.restart()
            queue = broker.engine.queues.existing(FAIR)


def dwell_times_s(broker: Broker, *, has_groups: bool) -> dict[str, list[float]]:
    """Ten minutes of twenty consumers, a second a message; nine tenants with one a second each, the tenth sends 6 000.

    Alone, the nine keep half of the consumers busy.
    """
    waits: dict[str, list[float]] = {}
    events: list[tuple[float, int, str, object]] = []
    order = count()
    start_ms = broker.now_ms
    for second in range(600):
        for tenant in range(9):
            heappush(events, (second + tenant / 9, next(order), "send", f"quiet {tenant}"))
    heappush(events, (60.0, next(order), "burst", LOUD))
    idle = 20
    while events and events[0][0] < 600:
        now_s, _, kind, what = heappop(events)
        broker.pass_time(now_s - (broker.now_ms - start_ms) / 1000)
        if kind == "done":
            broker.delete(what, key=FAIR)
            idle += 1
        else:
            tenant = str(what)
            contents = [
                Content("id", tenant, "sender", {}, None, tenant if has_groups else None)
                for _ in range(6000 if kind == "burst" else 1)
            ]
            broker.run(Send(FAIR, [Outgoing(content, None) for content in contents]))
        while idle and (deliveries := broker.receive(FAIR, 1)):
            idle -= 1
            (delivery,) = deliveries
            waits.setdefault(delivery.content.body, []).append((broker.now_ms - delivery.entry.sent_ms) / 1000)
            heappush(events, (now_s + 1, next(order), "done", delivery))
    return waits


def test_a_burst_of_one_tenant_hardly_delays_the_others() -> None:
    worst = {}
    for has_groups in (False, True):
        broker = Broker()
        broker.queue(FAIR, VisibilityTimeout="600")
        waits = dwell_times_s(broker, has_groups=has_groups)
        quiet = sorted(wait for tenant, times in waits.items() if tenant != LOUD for wait in times)
        worst[has_groups] = quiet[int(len(quiet) * 0.99)]
        assert len(waits[LOUD]) > 4000, "the noisy tenant gets what the others leave"
    assert worst[False] > 250
    assert worst[True] < 5
