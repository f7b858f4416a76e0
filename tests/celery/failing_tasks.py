"""A shop's tasks that fail for four reasons until they are fixed, and one that a worker may not know.

A reason is fixed once the file `fixed-<reason>` lies beside the ledger. Knows nothing of queues.
"""

import os
import signal
from pathlib import Path
from uuid import uuid4

from celery import shared_task
from celery.loaders.app import AppLoader
from ledger_tasks import note


class Loader(AppLoader):
    """Celery's loader of apps, with these tasks and what the ledger's need."""

    builtin_modules = frozenset({"ledger_tasks", "failing_tasks"})


class BankError(Exception):
    """The bank did not do it."""


@shared_task(bind=True, name="shop.charge")
def charge(task, number, reason):
    """Notes its run, if nothing is wrong."""
    if not Path(os.environ["LEDGER"]).with_name(f"fixed-{reason}").exists():
        fail(number, reason)
    note(task, number)


def fail(number, reason):
    if reason == "amount" and number % 2:
        check_amount(number)
    if reason == "amount":
        check_amount(number)
    if reason == "stock":
        take_from_stock({}, number)
    if reason == "bank":
        pay(number)
    if reason == "memory":
        # As the kernel does when memory is short.
        os.kill(os.getpid(), signal.SIGKILL)


def check_amount(number):
    raise ValueError(f"order {number} of customer-{number}@example.org: {number * 7}.50 EUR, transaction {uuid4()}")


def take_from_stock(stock, number):
    stock[f"article {number}"] -= 1


def pay(number):
    try:
        call_bank(number)
    except TimeoutError as error:
        raise BankError(f"payment {number} was not made") from error


def call_bank(number):
    raise TimeoutError(f"no answer from 10.0.{number % 256}.7:443 within 30 s")


if os.environ.get("KNOWS_REFUND"):

    @shared_task(bind=True, name="shop.refund")
    def refund(task, number, reason):
        note(task, number)
