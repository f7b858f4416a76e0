"""Drives every family of SQS's actions with boto3, old or new: `python drive.py json`, `python drive.py query`.

The endpoint, region and keys are boto3's own: AWS_ENDPOINT_URL_SQS and its fellows. Says `ok <step>` after each step,
and ends at the first wrong answer. Needs nothing but boto3, in whatever version runs it.
"""

import sys
from collections.abc import Collection

import batches
import boto3
import dead_letters
import fifo
import messages
import queues
import refusals
from botocore.config import Config
from expecting import Run, expect

# Each step makes its own queues; the last one asks whether any action was left out.
STEPS = [
    queues.create_queue,
    queues.queue_name_exists,
    queues.get_queue_url,
    queues.queue_attributes,
    queues.list_queues_in_pages,
    queues.queue_tags,
    queues.permissions,
    queues.list_dead_letter_source_queues_in_pages,
    queues.purge_queue,
    queues.delete_queue,
    messages.send_and_receive,
    messages.message_attributes,
    messages.message_system_attributes,
    messages.message_group_on_a_standard_queue,
    messages.long_poll,
    messages.delay_seconds,
    messages.change_message_visibility,
    messages.delete_message,
    batches.send_message_batch,
    batches.send_message_batch_with_a_failed_entry,
    batches.change_message_visibility_batch,
    batches.delete_message_batch,
    dead_letters.dead_letter_after_max_receive_count,
    dead_letters.move_task_back_to_the_sources,
    dead_letters.move_task_to_a_destination,
    dead_letters.move_task_cancelled,
    dead_letters.move_task_refusals,
    fifo.fifo_queue,
    fifo.fifo_order_and_sequence_numbers,
    fifo.fifo_group_is_locked,
    fifo.fifo_deduplication_id,
    fifo.fifo_content_based_deduplication,
    fifo.fifo_batch,
    fifo.fifo_receive_attempt,
    fifo.fifo_dead_letters,
    fifo.fifo_refusals,
    refusals.queue_does_not_exist,
    refusals.queue_deleted_recently,
    refusals.receipt_handle_is_invalid,
    refusals.message_not_inflight,
    refusals.empty_batch_request,
    refusals.batch_entry_ids_not_distinct,
    refusals.invalid_batch_entry_id,
    refusals.too_many_entries_in_batch_request,
    refusals.batch_request_too_long,
    refusals.invalid_attribute_name,
    refusals.invalid_attribute_value,
    refusals.invalid_message_contents,
    refusals.invalid_parameter_value,
    refusals.unsupported_operation,
    refusals.over_limit,
]


def drive(run: Run, asked: Collection[str]) -> None:
    """Take all steps. `asked` grows by the name of each action that is asked for, whoever sees to that."""
    try:
        for step in STEPS:
            step(run)
            sys.stdout.write(f"ok {step.__name__}\n")
            sys.stdout.flush()
        expect(sorted(asked), sorted(run.sqs.meta.service_model.operation_names))
        sys.stdout.write("ok every_action\n")
    finally:
        run.delete_queues()


def main() -> None:
    (protocol,) = sys.argv[1:]
    # One attempt: an error is an answer, not a reason to ask again.
    sqs = boto3.client("sqs", config=Config(retries={"total_max_attempts": 1}))
    expect(sqs.meta.service_model.metadata["protocol"], protocol)
    asked: set[str] = set()
    sqs.meta.events.register("before-call.sqs", lambda model, **_: asked.add(model.name))
    drive(Run(sqs, f"boto3-{protocol}"), asked)


if __name__ == "__main__":
    main()
