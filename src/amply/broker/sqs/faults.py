"""Every error SQS answers with: one row each, raised anywhere as a `Fault`, turned into bytes only by the wire.

Sources: AWS's service model (shapes), the last Query model (codes, statuses), common errors of the API reference.
"""

from msgspec import Struct


class FaultRow(Struct, frozen=True):
    """A kind of error: its JSON shape, its Query code, its HTTP status, its usual text.

    `is_modelled` tells the shapes that AWS's service model names from those that every AWS service shares; `is_sender`
    tells the client's faults from ours.
    """

    shape: str
    query_code: str
    status: int = 400
    message: str = ""
    is_modelled: bool = True
    is_sender: bool = True


class Fault(Exception):
    """An answer that is not a result. `message` None means the row's usual text."""

    def __init__(self, row: FaultRow, message: str | None = None) -> None:
        super().__init__(row, message)
        self.row = row
        self.message = row.message if message is None else message

    def __str__(self) -> str:
        return f"{self.row.query_code}: {self.message}"


_LEGACY = "AWS.SimpleQueueService."

QUEUE_DOES_NOT_EXIST = FaultRow(
    "QueueDoesNotExist", _LEGACY + "NonExistentQueue", message="The specified queue does not exist."
)
QUEUE_NAME_EXISTS = FaultRow("QueueNameExists", "QueueAlreadyExists")
QUEUE_DELETED_RECENTLY = FaultRow("QueueDeletedRecently", _LEGACY + "QueueDeletedRecently")
PURGE_QUEUE_IN_PROGRESS = FaultRow("PurgeQueueInProgress", _LEGACY + "PurgeQueueInProgress", 403)

BATCH_ENTRY_IDS_NOT_DISTINCT = FaultRow("BatchEntryIdsNotDistinct", _LEGACY + "BatchEntryIdsNotDistinct")
BATCH_REQUEST_TOO_LONG = FaultRow("BatchRequestTooLong", _LEGACY + "BatchRequestTooLong")
EMPTY_BATCH_REQUEST = FaultRow("EmptyBatchRequest", _LEGACY + "EmptyBatchRequest")
INVALID_BATCH_ENTRY_ID = FaultRow(
    "InvalidBatchEntryId",
    _LEGACY + "InvalidBatchEntryId",
    message="A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
    "It can be at most 80 letters long.",
)
TOO_MANY_ENTRIES_IN_BATCH_REQUEST = FaultRow("TooManyEntriesInBatchRequest", _LEGACY + "TooManyEntriesInBatchRequest")

MESSAGE_NOT_INFLIGHT = FaultRow("MessageNotInflight", _LEGACY + "MessageNotInflight")
UNSUPPORTED_OPERATION = FaultRow("UnsupportedOperation", _LEGACY + "UnsupportedOperation")
OVER_LIMIT = FaultRow("OverLimit", "OverLimit", 403)
RECEIPT_HANDLE_IS_INVALID = FaultRow("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid")
INVALID_ID_FORMAT = FaultRow("InvalidIdFormat", "InvalidIdFormat")
INVALID_MESSAGE_CONTENTS = FaultRow("InvalidMessageContents", "InvalidMessageContents")
INVALID_ATTRIBUTE_NAME = FaultRow("InvalidAttributeName", "InvalidAttributeName")
INVALID_ATTRIBUTE_VALUE = FaultRow("InvalidAttributeValue", "InvalidAttributeValue")
RESOURCE_NOT_FOUND = FaultRow("ResourceNotFoundException", "ResourceNotFoundException", 404)

INVALID_ADDRESS = FaultRow("InvalidAddress", "InvalidAddress")
INVALID_SECURITY = FaultRow("InvalidSecurity", "InvalidSecurity", 403)
REQUEST_THROTTLED = FaultRow("RequestThrottled", "RequestThrottled", 403)
KMS_ACCESS_DENIED = FaultRow("KmsAccessDenied", "KMS.AccessDeniedException")
KMS_DISABLED = FaultRow("KmsDisabled", "KMS.DisabledException")
KMS_INVALID_KEY_USAGE = FaultRow("KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException")
KMS_INVALID_STATE = FaultRow("KmsInvalidState", "KMS.InvalidStateException")
KMS_NOT_FOUND = FaultRow("KmsNotFound", "KMS.NotFoundException")
KMS_OPT_IN_REQUIRED = FaultRow("KmsOptInRequired", "KMS.OptInRequired", 403)
KMS_THROTTLED = FaultRow("KmsThrottled", "KMS.ThrottlingException")

INVALID_PARAMETER_VALUE = FaultRow("InvalidParameterValueException", "InvalidParameterValue", is_modelled=False)
MISSING_PARAMETER = FaultRow("MissingRequiredParameterException", "MissingParameter", is_modelled=False)
ACCESS_DENIED = FaultRow("AccessDeniedException", "AccessDenied", 403, is_modelled=False)
INVALID_CLIENT_TOKEN_ID = FaultRow("InvalidClientTokenId", "InvalidClientTokenId", 403, is_modelled=False)
SIGNATURE_DOES_NOT_MATCH = FaultRow("SignatureDoesNotMatch", "SignatureDoesNotMatch", 403, is_modelled=False)
MISSING_AUTHENTICATION_TOKEN = FaultRow(
    "MissingAuthenticationToken", "MissingAuthenticationToken", 403, is_modelled=False
)
REQUEST_EXPIRED = FaultRow("RequestExpired", "RequestExpired", 403, is_modelled=False)
INCOMPLETE_SIGNATURE = FaultRow("IncompleteSignature", "IncompleteSignature", is_modelled=False)

INVALID_ACTION = FaultRow("InvalidAction", "InvalidAction", is_modelled=False)
UNKNOWN_OPERATION = FaultRow("UnknownOperationException", "UnknownOperationException", is_modelled=False)
MALFORMED_QUERY_STRING = FaultRow("MalformedQueryString", "MalformedQueryString", is_modelled=False)
SERIALIZATION = FaultRow("SerializationException", "SerializationException", is_modelled=False)

INTERNAL_FAILURE = FaultRow(
    "InternalFailure",
    "InternalFailure",
    500,
    "The request failed because of an internal error. Nothing was acknowledged; try again.",
    is_modelled=False,
    is_sender=False,
)
SERVICE_UNAVAILABLE = FaultRow(
    "ServiceUnavailable",
    "ServiceUnavailable",
    503,
    "The service cannot take this request at the moment. Try again.",
    is_modelled=False,
    is_sender=False,
)


def missing_parameter(name: str) -> Fault:
    """The request lacks a required parameter, or it is empty."""
    return Fault(MISSING_PARAMETER, f"The request must contain the parameter {name}.")


def invalid_parameter(name: str, value: object, reason: str) -> Fault:
    """A parameter's value is not allowed. `reason` is a sentence with its full stop, as AWS writes it there."""
    return Fault(INVALID_PARAMETER_VALUE, f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def unknown_attribute(name: str) -> Fault:
    """No such attribute, or not one that can be set on this queue."""
    return Fault(INVALID_ATTRIBUTE_NAME, f"Unknown Attribute {name}.")


def receipt_handle_is_invalid(handle: str) -> Fault:
    """The handle is not one that this broker gave out."""
    return Fault(RECEIPT_HANDLE_IS_INVALID, f'The input receipt handle "{handle}" is not a valid receipt handle.')
