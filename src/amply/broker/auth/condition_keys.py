"""The condition keys that a policy may use: those whose value, or absence, is known for every request.

A key that AWS has and that cannot be told here (whether a second factor was used, how old a session is) is refused when
a policy is read. Source: IAM guide, "AWS global condition context keys"; SQS guide, "Amazon SQS API permissions".
"""

from amply.broker.auth.policy_errors import PolicyError, did_you_mean

_KINDS = {
    # What every request has.
    "aws:CurrentTime": "date",
    "aws:EpochTime": "epoch",
    "aws:SecureTransport": "bool",
    "aws:SourceIp": "address",
    "aws:UserAgent": "text",
    # Who asks.
    "aws:PrincipalArn": "arn",
    "aws:PrincipalAccount": "text",
    "aws:PrincipalIsAWSService": "bool",
    "aws:ViaAWSService": "bool",
    "aws:userid": "text",
    "aws:username": "text",
    # What only requests of AWS's own services, organisations and networks have: never there.
    "aws:PrincipalOrgID": "text",
    "aws:SourceAccount": "text",
    "aws:SourceArn": "arn",
    "aws:SourceVpc": "text",
    "aws:SourceVpce": "text",
    # The tags that a request brings.
    "aws:TagKeys": "texts",
}
# Followed by a tag's key: what the request says, and what the queue has.
_TAG_PREFIXES = ("aws:RequestTag/", "aws:ResourceTag/")

_BY_LOWER_CASE = {name.lower(): kind for name, kind in _KINDS.items()}
_LOWER_PREFIXES = tuple(prefix.lower() for prefix in _TAG_PREFIXES)

# The kind of a key that has many values at once.
MANY = "texts"


def kind_of(key: str, where: str) -> str:
    """What kind of value a key has: text, texts, arn, date, epoch, bool or address. Raises `PolicyError`."""
    lower = key.lower()
    if lower in _BY_LOWER_CASE:
        return _BY_LOWER_CASE[lower]
    if any(lower.startswith(prefix) and len(lower) > len(prefix) for prefix in _LOWER_PREFIXES):
        return "text"
    why = "this condition key is not known here, and a condition that nobody checks would be an open door"
    raise PolicyError(key, where, why + did_you_mean(key, _KINDS))
