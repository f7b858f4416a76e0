"""MD5 digests against values that others computed, and against the layout of AWS's page written out by hand."""

import hashlib

from amply.broker.sqs.digests import md5_of_attributes, md5_of_body
from amply.broker.sqs.shapes import MessageAttributeValue


def test_the_body_digest_is_the_md5_of_its_utf8_bytes() -> None:
    assert md5_of_body("hello") == "5d41402abc4b2a76b9719d911017c592"
    assert md5_of_body("über") == "860828352d2d9e23a47335120b84fd9c"


def test_a_number_attribute_has_the_digest_that_aws_gives_it() -> None:
    assert md5_of_attributes({"timestamp": MessageAttributeValue("Number", "1493147359900")}) == (
        "235c5c510d26fb653d073faed50ae77c"
    )


def test_attributes_are_digested_in_order_of_name_with_type_label_and_kind_of_value() -> None:
    attributes = {
        "b": MessageAttributeValue("Number.float", "1.5"),
        "a": MessageAttributeValue("Binary", None, b"\x00\xff"),
        "é": MessageAttributeValue("String", "ü"),
    }
    laid_out = (
        b"\x00\x00\x00\x01a" + b"\x00\x00\x00\x06Binary" + b"\x02" + b"\x00\x00\x00\x02\x00\xff"
        b"\x00\x00\x00\x01b" + b"\x00\x00\x00\x0cNumber.float" + b"\x01" + b"\x00\x00\x00\x031.5"
        b"\x00\x00\x00\x02\xc3\xa9" + b"\x00\x00\x00\x06String" + b"\x01" + b"\x00\x00\x00\x02\xc3\xbc"
    )
    assert md5_of_attributes(attributes) == hashlib.md5(laid_out).hexdigest()
