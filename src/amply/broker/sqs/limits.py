"""Every number of SQS, once. Source: AWS API reference and the quotas page of the developer guide."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """What a queue, a message and a request may be. Ends are inclusive; `_s` is seconds, `_bytes` is UTF-8 bytes."""

    message_size_bytes_min: int = 1024  # the smallest MaximumMessageSize a queue can be given
    message_size_bytes_max: int = 1_048_576
    batch_size_bytes_max: int = 1_048_576
    batch_entries_max: int = 10
    batch_id_length_max: int = 80

    delay_s_max: int = 900
    visibility_timeout_s_max: int = 43_200
    visibility_timeout_s_default: int = 30
    wait_time_s_max: int = 20
    retention_s_min: int = 60
    retention_s_max: int = 1_209_600
    retention_s_default: int = 345_600

    receive_messages_max: int = 10
    in_flight_max: int = 120_000

    message_attributes_max: int = 10
    message_attribute_name_length_max: int = 256
    message_attribute_type_length_max: int = 256
    number_digits_max: int = 38
    number_exponent_min: int = -128
    number_exponent_max: int = 126

    group_id_length_max: int = 128
    deduplication_id_length_max: int = 128
    attempt_id_length_max: int = 128
    deduplication_window_s: int = 300
    attempt_window_s: int = 300

    queue_name_length_max: int = 80
    tags_max: int = 50
    tag_key_length_max: int = 128
    tag_value_length_max: int = 256
    list_queues_max: int = 1000
    purge_interval_s: int = 60
    recreate_interval_s: int = 60

    kms_data_key_reuse_s_min: int = 60
    kms_data_key_reuse_s_max: int = 86_400
    kms_data_key_reuse_s_default: int = 300

    receive_count_max: int = 1000  # the highest maxReceiveCount
    redrive_source_queues_max: int = 10

    policy_size_bytes_max: int = 8192
    policy_statements_max: int = 20
    policy_principals_max: int = 50
    policy_conditions_max: int = 10
    permission_label_length_max: int = 80
    permission_actions_max: int = 7

    move_messages_per_s_max: int = 500
    move_tasks_listed_max: int = 10
    move_tasks_active_max: int = 100


AWS = Limits()

# What a broker for tests may set to something else. Names of queues are checked in too many places that know no
# broker, and defaults are no limits.
CHANGEABLE = tuple(
    name for name in Limits.__struct_fields__ if name != "queue_name_length_max" and not name.endswith("_default")
)
