"""Our words against AWS's service model, as botocore ships it."""

from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import botocore.loaders
import pytest
from msgspec.structs import fields

from amply.broker.sqs import attributes, faults, shapes
from amply.broker.sqs.actions import ACTIONS, ANSWERED, EXTENSIONS
from amply.broker.sqs.faults import FaultRow

MODEL = botocore.loaders.Loader().load_service_model("sqs", "service-2", "2012-11-05")
SHAPES: dict[str, Any] = MODEL["shapes"]
OURS = {"MessageSystemAttributeValue": shapes.MessageAttributeValue}
STRUCTURES = [name for name, shape in SHAPES.items() if shape["type"] == "structure" and not shape.get("exception")]
ROWS = {row.shape: row for row in vars(faults).values() if isinstance(row, FaultRow)}


def our_type(name: str) -> type:
    return OURS.get(name) or getattr(shapes, name)


def kind(annotation: Any) -> str:
    if NoneType in get_args(annotation):
        annotation = next(option for option in get_args(annotation) if option is not NoneType)
    origin = get_origin(annotation) or annotation
    return {str: "string", int: "integer", bool: "boolean", bytes: "blob", list: "list", dict: "map"}.get(
        origin, "structure"
    )


def test_there_are_exactly_the_actions_of_the_model() -> None:
    assert set(ACTIONS) == set(MODEL["operations"])
    assert len(ACTIONS) == 23


def test_one_action_is_this_broker_s_own_and_no_other_is_answered() -> None:
    assert set(EXTENSIONS) == {"PeekMessages"}
    assert set(ANSWERED) - set(MODEL["operations"]) == set(EXTENSIONS)


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_action_takes_and_gives_the_shapes_of_the_model(name: str) -> None:
    operation = MODEL["operations"][name]
    action = ACTIONS[name]
    assert action.request.__name__ == operation["input"]["shape"]
    assert (action.result and action.result.__name__) == operation.get("output", {}).get("shape")
    aws_names = {field.name: field.encode_name for field in fields(action.request)}
    assert {aws_names[member] for member in action.required} == set(
        SHAPES[operation["input"]["shape"]].get("required", [])
    )


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_a_shape_has_exactly_the_members_of_the_model(name: str) -> None:
    ours = our_type(name)
    hints = get_type_hints(ours)
    members = {field.encode_name: kind(hints[field.name]) for field in fields(ours)}
    theirs = {
        member: SHAPES[reference["shape"]]["type"].replace("long", "integer")
        for member, reference in SHAPES[name]["members"].items()
    }
    assert members == theirs


@pytest.mark.parametrize("name", sorted(name for name in ACTIONS if name.endswith("Batch")))
def test_a_batch_entry_requires_what_the_model_requires(name: str) -> None:
    entry = our_type(f"{name}RequestEntry")
    aws_names = {field.name: field.encode_name for field in fields(entry)}
    assert {aws_names[member] for member in ACTIONS[name].entry_required} == set(
        SHAPES[f"{name}RequestEntry"]["required"]
    )


def test_every_list_and_map_has_a_name_in_the_query_protocol() -> None:
    for action in ANSWERED.values():
        for shape in (action.request, action.result, shapes.Message, shapes.MessageAttributeValue):
            for field in fields(shape) if shape else ():
                if kind(get_type_hints(shape)[field.name]) in {"list", "map"}:
                    assert field.encode_name in action.query_names, (action.name, field.name)


def test_every_error_of_the_model_is_a_row_and_no_other_claims_to_be_modelled() -> None:
    errors = {name for name, shape in SHAPES.items() if shape.get("exception")}
    assert {row.shape for row in ROWS.values() if row.is_modelled} == errors


def test_the_errors_that_every_service_of_aws_shares_have_their_codes_and_statuses() -> None:
    expected = {
        "AccessDeniedException": ("AccessDenied", 403),
        "IncompleteSignature": ("IncompleteSignature", 400),
        "InvalidClientTokenId": ("InvalidClientTokenId", 403),
        "InvalidParameterValueException": ("InvalidParameterValue", 400),
        "MissingAuthenticationToken": ("MissingAuthenticationToken", 403),
        "MissingRequiredParameterException": ("MissingParameter", 400),
        "RequestExpired": ("RequestExpired", 403),
        "SignatureDoesNotMatch": ("SignatureDoesNotMatch", 403),
    }
    assert {name: (ROWS[name].query_code, ROWS[name].status) for name in expected} == expected
    assert [row.shape for row in ROWS.values() if not row.is_sender] == ["InternalFailure", "ServiceUnavailable"]


def test_every_queue_attribute_of_the_model_is_known() -> None:
    names = set(SHAPES["QueueAttributeName"]["enum"]) - {"All"}
    assert set(attributes.SETTABLE) | set(attributes.COMPUTED) == names
