"""Dead letters of the packaged topology, made as they come to be: sent, received too often, told of by a worker."""

import errno
import json
import os
import select
import uuid

from amply import envelope
from amply.clock import wall_ms

DLQ = "amply-celery-dlq"
WEBHOOK = "amply.jobs.webhooks.dispatch_webhook"
REPORT = "amply.jobs.reports.generate_monthly_report"


def celery_body(task=REPORT, args=(), kwargs=None, *, job_id=None, form="brief", routing_key="low"):
    """A job as Celery sends it."""
    job_id = job_id or str(uuid.uuid4())
    payload = {
        "body": json.dumps([list(args), kwargs or {}, {"callbacks": None, "chain": None}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": task, "id": job_id, "retries": 0, "argsrepr": repr(args), "origin": "gen1@host"},
        "properties": {"body_encoding": "utf-8", "delivery_info": {"exchange": "", "routing_key": routing_key}},
    }
    return json.dumps(payload) if form == "text" else envelope.write(payload, form)


class Graveyard:
    """An SQS with the queues of the packaged topology."""

    def __init__(self, sqs):
        self.sqs = sqs

    def url(self, queue):
        return self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]

    def send(self, body, queue=DLQ, **more):
        """Send a message; its id. To the DLQ: it did not die in a queue."""
        return self.sqs.send_message(QueueUrl=self.url(queue), MessageBody=body, **more)["MessageId"]

    def die(self, body, queue="amply-celery-low", **more):
        """Send a message that is received until it is dead; its id."""
        message_id = self.send(body, queue, **more)
        url = self.url(queue)
        for _ in range(6):
            self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, WaitTimeSeconds=0)
        return message_id

    def fail(self, message_id, exception="ValueError", message="no", **more):
        """Tell of a failed run, as a worker does."""
        record = {
            "type": "delivery-failed",
            "timestamp_ms": wall_ms() - 60_000,
            "hostname": "worker-1",
            "pid": 77,
            "message_id": message_id,
            "attempt": 5,
            "receive_count": 5,
            "reason": "raised",
            "exception": exception,
            "message": message,
            "traceback": f'Traceback:\n  File "/app/jobs.py", line 3, in run\n{exception}: {message}\n',
            "again_in_s": None,
        }
        self.send(json.dumps(record | more), "amply-telemetry")

    def count(self, queue=DLQ):
        """How many are in a queue, hidden or not."""
        told = self.sqs.get_queue_attributes(QueueUrl=self.url(queue), AttributeNames=["All"])["Attributes"]
        return sum(int(told[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed"))

    def bodies(self, queue):
        """The bodies of all visible messages of a queue."""
        return [message["Body"] for message in self.messages(queue)]

    def messages(self, queue):
        """All visible messages of a queue; they are hidden then."""
        found = []
        options = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 0, "MessageAttributeNames": ["All"]}
        while some := self.sqs.receive_message(QueueUrl=self.url(queue), **options).get("Messages"):
            found += some
        return found


def read_all(ours):
    """What comes to a terminal until nobody holds it any more."""
    screen = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            screen += os.read(ours, 65536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(ours)
    return screen.decode()
