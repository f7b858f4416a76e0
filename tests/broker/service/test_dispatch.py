"""Dispatch: no action is forgotten."""

from amply.broker.service.dispatch import HANDLERS
from amply.broker.sqs.actions import ANSWERED


def test_every_action_has_its_handler() -> None:
    assert HANDLERS.keys() == ANSWERED.keys()
