"""The app's settings, as the deployment's description gives them, and where they differ because it cannot work so."""

from amply.jobs.celery_app import app


def test_routes_and_acknowledgement_are_as_described():
    conf = app.conf
    assert conf.broker_url == "sqs://"
    routes = {
        "amply.jobs.webhooks.*": {"queue": "high"},
        "amply.jobs.checkpoints.*": {"queue": "celery"},
        "amply.jobs.reports.*": {"queue": "low"},
    }
    assert routes.items() <= conf.task_routes.items()
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True
    assert conf.worker_prefetch_multiplier == 1
    assert app.main == "amply"


def test_the_transport_is_configured_as_described_but_for_the_polling_interval():
    options = app.conf.broker_transport_options
    assert options["region"] == "eu-central-1"
    assert options["visibility_timeout"] == 1800
    assert options["wait_time_seconds"] == 20
    assert options["queue_name_prefix"] == "amply-"
    # With 1 s, kombu 5.7 would look for a free child once a second: four jobs a second for four children.
    assert options["polling_interval"] == 0
    urls = {name: queue["url"].rpartition("/")[2] for name, queue in options["predefined_queues"].items()}
    named = {"celery": "amply-celery", "high": "amply-celery-high", "low": "amply-celery-low"}
    # Under both names, because stock kombu looks for a queue now with the prefix and now without.
    both = {**named, **{f"amply-{name}": queue for name, queue in named.items()}}
    assert urls == {**both, "amply-telemetry": "amply-telemetry"}


def test_a_failed_task_is_left_to_the_redrive_policy():
    assert app.conf.task_acks_on_failure_or_timeout is False
