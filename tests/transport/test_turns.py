"""Whose turn it is: strict priority inside one budget, whatever order the answers come in."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amply.transport.turns import MOST_AT_ONCE, Ask, Turns

NAMES = ["high", "celery", "low"]


def turns(*names, limit=1, slots=None, guard=0):
    plan = Turns(guard=guard)
    plan.limit = limit
    plan.slots = slots or limit
    plan.set_queues(list(names))
    return plan


def all_parked(plan, *names):
    """Ask every queue and answer that it is empty, until all polls are open."""
    for name in names:
        assert not plan.next_ask(name).waits
        plan.answered(name, 0)
    return [plan.next_ask(name) for name in names]


def test_the_highest_queue_asks_first_and_the_others_wait_for_its_answer():
    plan = turns(*NAMES, limit=4)
    assert plan.next_ask("low") is None
    assert plan.next_ask("celery") is None
    assert plan.next_ask("high") == Ask(4, waits=False)
    assert plan.next_ask("celery") is None


def test_a_lower_queue_asks_when_those_above_it_had_nothing():
    plan = turns(*NAMES, limit=4)
    plan.next_ask("high")
    plan.answered("high", 0)
    assert plan.next_ask("low") is None
    assert plan.next_ask("celery") == Ask(4, waits=False)


def test_a_queue_asks_one_request_at_a_time():
    plan = turns("high", limit=4)
    assert plan.next_ask("high")
    assert plan.next_ask("high") is None


def test_a_queue_that_had_enough_is_asked_again_before_those_below_it():
    plan = turns(*NAMES, limit=20)
    assert plan.next_ask("high") == Ask(MOST_AT_ONCE, waits=False)
    plan.answered("high", 10)
    assert plan.next_ask("celery") is None
    assert plan.next_ask("high") == Ask(10, waits=False)


def test_a_queue_that_had_less_than_was_asked_for_is_empty():
    plan = turns(*NAMES, limit=20)
    plan.next_ask("high")
    plan.answered("high", 3)
    assert plan.next_ask("celery") == Ask(10, waits=False)


def test_a_queue_that_can_give_one_message_at_once_is_not_empty_after_one():
    plan = turns(*NAMES, limit=4)
    plan.next_ask("high")
    assert plan.answered("high", 1, 1) == 1
    assert plan.next_ask("celery") is None
    assert plan.next_ask("high") == Ask(3, waits=False)


def test_after_every_message_of_a_lower_queue_the_higher_ones_are_looked_at_again():
    plan = turns("high", "celery", limit=4)
    plan.next_ask("high")
    plan.answered("high", 0)
    plan.next_ask("celery")
    plan.answered("celery", 1)
    assert plan.next_ask("celery") is None
    assert plan.next_ask("high") == Ask(3, waits=False)


def test_when_all_queues_are_empty_a_poll_is_open_on_each():
    plan = turns(*NAMES, limit=6)
    assert [ask.waits for ask in all_parked(plan, *NAMES)] == [True, True, True]


@pytest.mark.parametrize(("limit", "messages"), [(1, 1), (6, 2), (100, 10)])
def test_open_polls_share_the_room(limit, messages):
    assert {ask.messages for ask in all_parked(turns(*NAMES, limit=limit), *NAMES)} == {messages}


def test_nobody_asks_while_there_is_no_room():
    plan = turns("high", "celery", limit=2)
    plan.next_ask("high")
    assert plan.answered("high", 2) == 2
    assert plan.next_ask("high") is None
    assert plan.next_ask("celery") is None
    plan.released()
    assert plan.next_ask("high") == Ask(1, waits=False)


def test_what_open_polls_bring_at_once_is_kept_as_far_as_there_is_room():
    plan = turns("high", "celery", limit=1)
    all_parked(plan, "high", "celery")
    assert plan.answered("celery", 1) == 1
    assert plan.answered("high", 1) == 0
    assert plan.held == 1


def test_what_was_known_empty_is_forgotten_when_nobody_could_ask_for_a_while():
    plan = turns("high", "celery", limit=1)
    plan.next_ask("high")
    plan.answered("high", 0)
    plan.next_ask("celery")
    plan.answered("celery", 1)
    plan.released()
    assert plan.next_ask("celery") is None
    assert plan.next_ask("high") == Ask(1, waits=False)


def test_without_spare_a_higher_queue_parks_no_poll_while_a_lower_one_has_messages():
    plan = turns("high", "celery", limit=2)
    plan.next_ask("high")
    plan.answered("high", 0)
    assert plan.next_ask("high") is None
    assert plan.next_ask("celery") == Ask(2, waits=False)


def test_with_spare_a_poll_stays_open_on_a_higher_queue_while_a_lower_one_is_served():
    plan = turns("high", "celery", limit=8, slots=4)
    plan.next_ask("high")
    plan.answered("high", 0)
    assert plan.next_ask("high") == Ask(4, waits=True)
    # It leaves alone what the open poll may bring.
    assert plan.next_ask("celery") == Ask(4, waits=False)


def test_a_failing_queue_does_not_hold_up_those_below_it():
    plan = turns("high", "celery", limit=2)
    plan.next_ask("high")
    plan.failed("high")
    assert plan.next_ask("celery") == Ask(2, waits=False)
    plan.answered("celery", 0)
    plan.recovered("high")
    assert plan.next_ask("high") == Ask(2, waits=False)


def test_a_queue_that_was_passed_over_too_often_gets_one_message_before_all_others():
    plan = turns("high", "celery", limit=10, guard=4)
    plan.next_ask("high")
    plan.answered("high", 4)
    plan.released(4)
    assert plan.next_ask("high") is None
    assert plan.next_ask("celery") == Ask(1, waits=False, goes_first=True)
    assert plan.next_ask("high") is None
    plan.answered("celery", 1)
    assert plan.next_ask("high") == Ask(9, waits=False)


def test_without_a_guard_no_queue_ever_goes_first():
    plan = turns("high", "celery", limit=10)
    for _ in range(100):
        plan.next_ask("high")
        plan.answered("high", 10)
        plan.released(10)
        assert plan.next_ask("celery") is None


def test_a_starving_queue_that_fails_holds_nobody_up():
    plan = turns("high", "celery", limit=4, guard=4)
    plan.next_ask("high")
    plan.answered("high", 4)
    plan.released(4)
    assert plan.next_ask("celery").goes_first
    plan.failed("celery")
    for _ in range(3):
        # It is passed over again, but its pause after the failure is not over.
        assert plan.next_ask("high") == Ask(4, waits=False)
        plan.answered("high", 4)
        plan.released(4)
    plan.recovered("celery")
    assert plan.next_ask("celery").goes_first


def test_a_queue_that_stays_keeps_its_state_when_the_queues_change():
    plan = turns("high", "celery", limit=4)
    plan.next_ask("high")
    plan.answered("high", 0)
    plan.next_ask("celery")
    plan.set_queues(["high", "middle", "celery"])
    assert plan.next_ask("celery") is None
    assert plan.next_ask("middle") is None, "the open request has taken all of the room"
    plan.answered("celery", 0)
    assert plan.next_ask("middle") == Ask(4, waits=False)


def test_a_queue_that_is_gone_has_no_turn_and_keeps_nothing():
    plan = turns("high", "celery", limit=4)
    plan.next_ask("high")
    plan.set_queues(["celery"])
    assert plan.answered("high", 3) == 0
    plan.failed("high")
    plan.recovered("high")
    assert plan.next_ask("high") is None
    assert plan.next_ask("celery") == Ask(4, waits=False)


class World(RuleBasedStateMachine):
    """Queues with messages, a worker with slots, and answers in any order."""

    @initialize(
        limit=st.integers(1, 12),
        spare=st.integers(0, 6),
        names=st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True),
        guard=st.sampled_from([0, 0, 3]),
    )
    def begin(self, limit, spare, names, guard):
        self.names = names
        self.guard = guard
        self.plan = turns(*names, limit=limit + spare, slots=limit, guard=guard)
        self.waiting = dict.fromkeys(names, 0)
        self.open = {}
        self.pausing = set()

    def chosen(self, number, among):
        return sorted(among)[number % len(among)]

    def brings(self, name):
        return min(self.waiting[name], self.open[name].messages)

    def answer(self, name):
        ask = self.open[name]
        found = self.brings(name)
        del self.open[name]
        kept = self.plan.answered(name, found)
        assert 0 <= kept <= found <= ask.messages
        self.waiting[name] -= kept

    @rule(number=st.integers(0, 9), messages=st.integers(1, 30))
    def messages_come(self, number, messages):
        self.waiting[self.chosen(number, self.names)] += messages

    @rule(number=st.integers(0, 9))
    def a_queue_asks(self, number):
        name = self.chosen(number, self.names)
        if name not in self.pausing:
            self.ask(name)

    def ask(self, name):
        short = sum(ask.messages for ask in self.open.values() if not ask.waits)
        above = dict(zip(self.names, self.plan._lines, strict=True))
        ask = self.plan.next_ask(name)
        if ask is None:
            return None
        assert name not in self.open
        assert 1 <= ask.messages <= MOST_AT_ONCE
        if not ask.waits:
            assert self.plan.held + short + ask.messages <= self.plan.limit
        if not ask.goes_first:
            for higher in self.names[: self.names.index(name)]:
                parked = higher in self.open and self.open[higher].waits
                assert parked or higher in self.pausing or above[higher].is_dry
        self.open[name] = ask
        return ask

    @precondition(lambda self: any(not ask.waits or self.waiting[name] for name, ask in self.open.items()))
    @rule(number=st.integers(0, 9))
    def an_answer_comes(self, number):
        ready = [name for name, ask in self.open.items() if not ask.waits or self.waiting[name]]
        self.answer(self.chosen(number, ready))

    @precondition(lambda self: any(ask.waits for ask in self.open.values()))
    @rule(number=st.integers(0, 9))
    def an_open_poll_ends(self, number):
        self.answer(self.chosen(number, [name for name, ask in self.open.items() if ask.waits]))

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 9))
    def a_request_fails(self, number):
        name = self.chosen(number, self.open)
        del self.open[name]
        self.plan.failed(name)
        self.pausing.add(name)

    @precondition(lambda self: self.pausing)
    @rule(number=st.integers(0, 9))
    def a_pause_is_over(self, number):
        name = self.chosen(number, self.pausing)
        self.pausing.discard(name)
        self.plan.recovered(name)

    @precondition(lambda self: self.plan.held)
    @rule(number=st.integers(1, 12))
    def jobs_end(self, number):
        self.plan.released(min(number, self.plan.held))

    @rule()
    def the_world_does_not_stall(self):
        """With no further events but answers and ends of jobs, every message is received sooner or later."""
        for name in list(self.pausing):
            self.pausing.discard(name)
            self.plan.recovered(name)
        for _ in range(20 * (1 + sum(self.waiting.values()) + len(self.names))):
            if not any(self.waiting.values()):
                break
            asked = [name for name in self.names if self.ask(name)]
            ready = [name for name, ask in self.open.items() if not ask.waits or self.waiting[name]]
            if ready:
                self.answer(ready[0])
            elif self.plan.held:
                self.plan.released(1)
            else:
                assert asked, f"nobody asks, though {self.waiting} wait"
        assert not any(self.waiting.values())

    @rule()
    def empty_queues_are_all_polled(self):
        """When nothing is anywhere and nothing is held, every queue has an open poll."""
        self.the_world_does_not_stall()
        self.plan.released(self.plan.held)
        for _ in range(4 * len(self.names)):
            for name in self.names:
                self.ask(name)
            for name in [name for name, ask in self.open.items() if not ask.waits]:
                self.answer(name)
        assert all(self.open[name].waits for name in self.names)

    @invariant()
    def no_more_is_held_than_may_be(self):
        if hasattr(self, "plan"):
            assert 0 <= self.plan.held <= self.plan.limit


World.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_whatever_happens_the_plan_keeps_priority_and_budget_and_never_stalls = World.TestCase
