"""Both protocols against botocore: its serializers and parsers, on AWS's own service model, which it ships.

That model has spoken AWS JSON since botocore 1.32. What AWS Query calls things is in `query_names.json`.
"""

import copy
import json
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.loaders
import botocore.parsers
import botocore.serialize
import msgspec
import pytest
from botocore.model import ServiceModel, Shape

from amply.broker.sqs import faults
from amply.broker.sqs.actions import ACTIONS
from amply.broker.sqs.faults import Fault, FaultRow
from amply.broker.wire.http import Request, Response
from amply.broker.wire.protocols import Exchange, Protocol, read, write

NAMES = json.loads((Path(__file__).parent / "query_names.json").read_text())
ROWS = {row.shape: row for row in vars(faults).values() if isinstance(row, FaultRow)}

# What came after the Query protocol. SDKs of that protocol cannot send the list; the errors have no recorded codes.
NEWER_LISTS = {"MessageSystemAttributeList": "MessageSystemAttributeName"}
NEWER_ERRORS = {
    "InvalidAddress",
    "InvalidAttributeValue",
    "InvalidSecurity",
    "KmsAccessDenied",
    "KmsDisabled",
    "KmsInvalidKeyUsage",
    "KmsInvalidState",
    "KmsNotFound",
    "KmsOptInRequired",
    "KmsThrottled",
    "RequestThrottled",
}


def json_model() -> dict[str, Any]:
    """The model as botocore ships it."""
    return copy.deepcopy(botocore.loaders.Loader().load_service_model("sqs", "service-2", "2012-11-05"))


def query_model() -> dict[str, Any]:
    """The same model, in the Query protocol."""
    model = json_model()
    del model["metadata"]["awsQueryCompatible"]
    model["metadata"] |= {"protocol": "query", "protocols": ["query"]}
    shapes = model["shapes"]
    for name, names in NAMES["collections"].items():
        for part in names.keys() & {"member", "key", "value"}:
            shapes[name][part]["locationName"] = names[part]
        _rename(shapes[name], names)
    for path, names in NAMES["members"].items():
        structure, _, member = path.partition(".")
        _rename(shapes[structure]["members"][member], names)
    for name, member_name in NEWER_LISTS.items():
        shapes[name]["member"]["locationName"] = member_name
    for operation in model["operations"].values():
        if "output" in operation:
            operation["output"]["resultWrapper"] = operation["output"]["shape"]
    return model


def _rename(reference: dict[str, Any], names: dict[str, Any]) -> None:
    reference.pop("flattened", None)
    reference |= {"flattened": True} if names.get("flattened") else {}
    reference |= {"locationName": names["name"]} if "name" in names else {}


class Botocore(Enum):
    """An SQS client without its sockets."""

    JSON = "json"
    QUERY = "query"

    def __init__(self, protocol: str) -> None:
        self.protocol = Protocol[protocol.upper()]
        self.model = ServiceModel(json_model() if protocol == "json" else query_model(), "sqs")
        self.serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
        self.parser = botocore.parsers.create_parser(protocol)

    def request(self, action: str, members: Any) -> Request:
        """What botocore would send."""
        written = self.serializer.serialize_to_request(members, self.model.operation_model(action))
        headers = {name.lower().encode(): value.encode() for name, value in written["headers"].items()}
        body = written["body"] if isinstance(written["body"], bytes) else urlencode(written["body"]).encode()
        return Request("POST", "/", {b"host": b"localhost", **headers}, body)

    def read(self, action: str, members: Any) -> Exchange:
        """What we make of it."""
        request = self.request(action, members)
        return read(request, default_account="000000000000", base_url=None, request_id="id-1")

    def parse(self, action: str, response: Response) -> Any:
        """What botocore makes of our answer."""
        headers = {name.decode(): value.decode() for name, value in response.headers}
        answer = {"status_code": response.status, "headers": headers, "body": response.body}
        return self.parser.parse(answer, self.model.operation_model(action).output_shape)

    def exchange(self, action: str) -> Exchange:
        return Exchange(protocol=self.protocol, request_id="id-1", action=ACTIONS[action])


def sample(shape: Shape, path: str = "") -> Any:
    """A value with every member, each different from all others."""
    if shape.type_name == "structure":
        return {name: sample(member, f"{path}.{name}") for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [sample(shape.member, f"{path}[{number}]") for number in range(2)]
    if shape.type_name == "map":
        return {f"{path}{{{number}}}": sample(shape.value, f"{path}{{{number}}}") for number in range(2)}
    if shape.type_name in ("integer", "long"):
        return sum(path.encode())
    if shape.type_name == "boolean":
        return True
    return path.encode() if shape.type_name == "blob" else path


def plain(value: Any) -> Any:
    """A shape, or what stands for one, as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.fixture(params=list(Botocore), ids=lambda botocore: botocore.name)
def client(request: pytest.FixtureRequest) -> Botocore:
    made = request.param
    assert isinstance(made, Botocore)
    return made


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_a_request_of_botocore_is_read_with_all_its_members(client: Botocore, name: str) -> None:
    given = sample(client.model.operation_model(name).input_shape)
    exchange = client.read(name, given)
    assert exchange.protocol is client.protocol
    assert exchange.fault is None, exchange.fault
    assert exchange.call is not None
    assert plain(exchange.call.request) == plain(given)


@pytest.mark.parametrize("name", sorted(name for name, action in ACTIONS.items() if action.result))
def test_a_result_of_ours_is_read_by_botocore_with_all_its_members(client: Botocore, name: str) -> None:
    result = ACTIONS[name].result
    assert result is not None
    given = plain(sample(client.model.operation_model(name).output_shape))
    parsed = client.parse(name, write(client.exchange(name), msgspec.convert(given, result)))
    assert parsed.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    assert plain(parsed) == given


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_member_that_the_model_requires_is_missed(client: Botocore, name: str) -> None:
    shape = client.model.operation_model(name).input_shape
    for member in shape.required_members:
        given = sample(shape)
        del given[member]
        exchange = client.read(name, given)
        if client is Botocore.QUERY and member == "Entries":  # which in this protocol is as an empty list
            assert exchange.call is not None
            continue
        assert exchange.fault is not None, member
        assert exchange.fault.row is faults.MISSING_PARAMETER
        assert exchange.fault.message == f"The request must contain the parameter {member}."


@pytest.mark.parametrize("name", sorted(name for name in ACTIONS if name.endswith("Batch")))
def test_every_member_that_an_entry_requires_is_missed(client: Botocore, name: str) -> None:
    shape = client.model.operation_model(name).input_shape
    for member in shape.members["Entries"].member.required_members:
        given = sample(shape)
        del given["Entries"][1][member]
        fault = client.read(name, given).fault
        assert fault is not None, member
        assert fault.row is faults.MISSING_PARAMETER
        assert fault.message == f"The request must contain the parameter {name}RequestEntry.2.{member}."


def test_the_one_list_that_an_answer_must_have_is_there_when_it_is_empty() -> None:
    """The lists of a batch's answer are required by the model too, and yet SQS leaves out the empty one."""
    model = Botocore.JSON.model
    outputs = [shape for name in ACTIONS if (shape := model.operation_model(name).output_shape)]
    required = {f"{shape.name}.{member}" for shape in outputs for member in shape.required_members}
    batches = {name for name in required if name.partition("BatchResult.")[1]}
    assert required - batches == {"ListDeadLetterSourceQueuesResult.queueUrls"}
    result = ACTIONS["ListDeadLetterSourceQueues"].result
    assert result is not None
    answer = write(Botocore.JSON.exchange("ListDeadLetterSourceQueues"), msgspec.convert({"queueUrls": []}, result))
    assert answer.body == b'{"queueUrls":[]}'


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_an_error_of_ours_is_read_by_botocore(client: Botocore, row: FaultRow) -> None:
    parsed = client.parse("SendMessage", write(client.exchange("SendMessage"), Fault(row, "Because.")))
    if client is Botocore.QUERY and row is faults.UNKNOWN_OPERATION:
        assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 404
        return
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == row.status
    error = parsed["Error"]
    assert (error["Code"], error["Message"]) == (row.query_code, "Because.")
    assert error["Type"] == ("Sender" if row.is_sender else "Receiver")
    if client is Botocore.JSON:
        assert error["QueryErrorCode"] == row.shape


def test_every_error_has_the_code_and_the_status_of_the_query_model() -> None:
    recorded = {shape: trait or [shape, 400] for shape, trait in NAMES["errors"].items()}
    assert {shape: [ROWS[shape].query_code, ROWS[shape].status] for shape in recorded} == recorded
    assert {shape.name for shape in Botocore.JSON.model.error_shapes} == recorded.keys() | NEWER_ERRORS


def test_every_list_and_map_of_the_model_has_a_recorded_query_name() -> None:
    model = Botocore.QUERY.model
    found = {name for name in model.shape_names if model.shape_for(name).type_name in {"list", "map"}}
    assert found == set(NAMES["collections"]) | set(NEWER_LISTS)
