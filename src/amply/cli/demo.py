"""The demonstration, as processes of its own: `python -m amply.cli.demo load | receive | tally`.

Donations arrive, organisations tell their news, checkpoints and reports are made; the webhooks that follow go to a
receiver on this machine. Not a command of `amply`: `amply up --demo` starts it.
"""

import json
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from amply import settings
from amply.cli.demo_arrivals import Kind, arrivals
from amply.cli.demo_ledger import Ledger
from amply.cli.demo_ledger import load as load_ledger
from amply.cli.demo_receiver import Receiver
from amply.cli.status_queues import Queues
from amply.clock import SystemClock, wall_ms
from amply.errors import AmplyError
from amply.topology.load import load as load_topology

ORGANISATIONS = ("river-trust", "forest-fund", "open-library")
_SEED = 9324

# While so many jobs wait, the demonstration waits too: also on a slow machine the queues are to drain.
_WAITING_MAX = 100
_CHECK_EVERY_MS = 1_000
_CHECKED_AT_ONCE = 100
_PAUSE_S = 0.5


def ledger_path(data: Path) -> Path:
    """Where the load leaves its account for the tally."""
    return data / "demo-ledger.json"


@click.group()
def demo() -> None:
    """Run one part of the demonstration."""


@demo.command()
def receive() -> None:
    """Receive webhooks, having registered an endpoint for every organisation."""
    from amply.jobs import endpoints
    from amply.jobs.records import open_store

    engine = open_store(settings.read().database_url)
    with Receiver(_SEED) as receiver:
        for organisation in ORGANISATIONS:
            path = f"/webhooks/{organisation}"
            endpoint = endpoints.register(
                engine,
                organisation_id=organisation,
                url=receiver.url + path,
                now_ms=wall_ms(),
                endpoint_id=_endpoint_id(organisation),
                allow_private=True,
            )
            receiver.secrets[path] = endpoint.secrets[0]
        click.echo(f"Receiving webhooks at {receiver.url}.")
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        _until_asked_to_stop().wait()
        receiver.shutdown()
    engine.dispose()


@demo.command()
def load() -> None:
    """Send jobs until asked to stop, keeping account of them."""
    found = settings.read()
    stop = _until_asked_to_stop()
    ledger = load_ledger(ledger_path(found.data))
    queues = Queues(load_topology(found.topology), found.sqs_endpoint_url)
    send, is_done = _sender(ledger), _result_reader()
    _wait_for_receiver(found.database_url, stop)
    clock = SystemClock()
    start_ms, check_ms, is_full = clock.now_ms(), 0, False
    for at_s, kind in arrivals(_SEED):
        while not stop.is_set():
            now_ms = clock.now_ms()
            if now_ms >= check_ms:
                ledger.check(is_done, _CHECKED_AT_ONCE)
                ledger.save(ledger_path(found.data))
                is_full = _waiting(queues) >= _WAITING_MAX
                check_ms = now_ms + _CHECK_EVERY_MS
            early_ms = start_ms + round(at_s * 1000) - now_ms
            if early_ms > 0:
                stop.wait(min(early_ms, _CHECK_EVERY_MS) / 1000)
            elif not is_full and send(kind):
                break
            else:
                stop.wait(_PAUSE_S)
                # The story waits as well: it goes on at its own pace, and does not catch up.
                start_ms += clock.now_ms() - now_ms
        if stop.is_set():
            break
    ledger.save(ledger_path(found.data))
    click.echo(f"Sent {sum(ledger.sent.values())} jobs.")


@demo.command()
def tally() -> None:
    """Write the account of the load as JSON, having asked after every job that was still open."""
    path = ledger_path(settings.read().data)
    ledger = load_ledger(path)
    ledger.check(_result_reader(), len(ledger.open))
    ledger.save(path)
    click.echo(json.dumps({"sent": ledger.sent, "done": ledger.done}))


def _until_asked_to_stop() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _waiting(queues: Queues) -> int:
    try:
        return sum(look.waiting for look in queues.look())
    except AmplyError as error:
        # The broker may be starting again; the next send tells.
        click.echo(error.message)
        return 0


def _endpoint_id(organisation: str) -> str:
    return f"ep_demo_{organisation}"


def _wait_for_receiver(database_url: str, stop: threading.Event) -> None:
    from amply.jobs import endpoints
    from amply.jobs.records import open_store

    engine = open_store(database_url)
    while not stop.is_set() and not all(endpoints.in_use(engine, organisation) for organisation in ORGANISATIONS):
        stop.wait(0.1)
    engine.dispose()


def _result_reader() -> Callable[[str], bool]:
    from amply.jobs.celery_app import app

    def is_done(task_id: str) -> bool:
        return bool(app.AsyncResult(task_id).state == "SUCCESS")

    return is_done


def _sender(ledger: Ledger) -> Callable[[Kind], bool]:
    """Sends a job of a kind; says whether SQS took it."""
    from kombu.exceptions import OperationalError

    from amply.jobs import checkpoints, cleanup, donations, reports, webhooks
    from amply.jobs.celery_app import app

    # Ids of this run, so that a second run on the same data folder brings new donations.
    run = f"demo-{wall_ms() // 1000:x}"
    number = 0

    def send(kind: Kind) -> bool:
        nonlocal number
        number += 1
        name, organisation = f"{run}-{number}", ORGANISATIONS[number % len(ORGANISATIONS)]
        jobs: dict[Kind, tuple[Any, list[Any]]] = {
            Kind.DONATION: (donations.record_donation, [_donation(name, organisation, number)]),
            Kind.NEWS: (webhooks.dispatch_webhook, [_endpoint_id(organisation), _news(name, organisation)]),
            Kind.CHECKPOINT: (checkpoints.generate_checkpoint, []),
            Kind.REPORT: (reports.generate_monthly_report, [organisation]),
            Kind.CLEANUP: (cleanup.remove_expired_records, []),
        }
        task, args = jobs[kind]
        try:
            sent = task.apply_async(args)
        except OperationalError as error:
            click.echo(f"SQS did not take a job, trying again: {error}")
            return False
        ledger.note_sent(app.amqp.router.route({}, task.name)["queue"].name, sent.id)
        return True

    return send


def _donation(name: str, organisation: str, number: int) -> dict[str, Any]:
    # Every other one belongs to the last month, so that the reports have something to tell.
    donated_at = datetime.fromtimestamp(wall_ms() / 1000, UTC)
    if number % 2:
        donated_at = donated_at.replace(day=1) - timedelta(days=1 + number % 28)
    return {
        "id": name,
        "organisation_id": organisation,
        "amount_minor": 500 + 250 * (number % 37),
        "currency": "EUR",
        "donor": f"Donor {number % 89}",
        "donated_at": donated_at.isoformat(),
    }


def _news(name: str, organisation: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "organisation.news",
        "timestamp": datetime.fromtimestamp(wall_ms() / 1000, UTC).isoformat(),
        "data": {"organisation_id": organisation},
    }


if __name__ == "__main__":
    demo()
