"""What the engine keeps in memory stays in proportion to what it holds, however long it runs."""

from amply.broker.engine.commands import Receive
from amply.broker.engine.in_flight import InFlight
from amply.broker.engine.parking import Parking
from amply.broker.engine.records import Entry

KEY = ("000000000000", "work")


def test_polls_that_were_served_leave_nothing_behind() -> None:
    parking = Parking()
    parking.park(Receive(KEY, 0), 1_000_000)
    for ticket in range(1, 5000):
        parking.park(Receive(KEY, ticket), 2_000_000 + ticket)
        assert parking.leave(ticket)
    assert len(parking._deadlines) < 200
    assert parking.next_deadline_ms() == 1_000_000
    assert list(parking.pop_due(1_000_000)) == [0]


def test_a_lease_extended_again_and_again_leaves_nothing_behind() -> None:
    in_flight = InFlight()
    for moment_ms in range(1, 5000):
        in_flight.put(Entry(1, 1, 0, moment_ms, 1))
    assert len(in_flight._timeouts) < 200
    assert [entry.visible_ms for entry in in_flight.pop_due(4999)] == [4999]
