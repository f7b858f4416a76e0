"""Ways to tamper with a signed request. Each gives a request that must be refused, or None if it does not apply.

Left out, because Signature Version 4 does not tell them apart: see EQUIVALENT in the test. Left out too are headers
that nobody signs.
"""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from signed_requests import TOKEN, Sent

Mutate: TypeAlias = Callable[[Sent, Random], Sent | None]

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SIGNED = {
    *("host", "content-type", "x-amz-date", "x-amz-target", "x-amz-security-token", "x-amz-foo", "x-amzn-query-mode"),
    "x-amz-content-sha256",
}
DATES = ("20260131T120001Z", "20260131T115959Z", "20260131T120000", "20270131T120000Z", "20260131T240000Z", "now", "")


def other_letter(text: str, rng: Random, start: int = 0, end: int | None = None) -> str | None:
    """One letter or digit is another one, and not only of the other case."""
    places = [place for place in range(start, len(text) if end is None else end) if text[place].lower() in LETTERS]
    if not places:
        return None
    place = rng.choice(places)
    letter = rng.choice([letter for letter in LETTERS if letter != text[place].lower()])
    return text[:place] + letter + text[place + 1 :]


def header_of(sent: Sent, name: str) -> str | None:
    """A header's value."""
    return next((value for other, value in sent.headers if other.lower() == name), None)


def with_header(sent: Sent, name: str, value: str | None) -> Sent:
    """Another value; None drops the header."""
    headers = [(other, value if other.lower() == name else old) for other, old in sent.headers]
    return sent._replace(headers=[(other, text) for other, text in headers if text is not None])


def signed_names(sent: Sent, rng: Random) -> str:
    """One of the signed headers."""
    return rng.choice([name.lower() for name, _ in sent.headers if name.lower() in SIGNED])


def another_method(sent: Sent, rng: Random) -> Sent:
    return sent._replace(
        method=rng.choice([method for method in ("GET", "POST", "PUT", "get") if method != sent.method])
    )


def another_path(sent: Sent, rng: Random) -> Sent:
    path, mark, query = sent.target.partition("?")
    other = rng.choice([f"{path}x", f"{path}/x", f"/x{path}", f"{path}%20", f"{path}.x", "/000000000000/other", "/%2F"])
    if path != "/" and rng.random() < 0.5:
        place = rng.randrange(1, len(path))
        other = rng.choice(
            [f"{path}/", path[:place] + f"%{ord(path[place]):02X}" + path[place + 1 :], path.upper(), path[:place]]
        )
    return sent._replace(target=f"{other}{mark}{query}")


def query_changed(sent: Sent, rng: Random) -> Sent | None:
    path, mark, query = sent.target.partition("?")
    changed = other_letter(query, rng)
    return sent._replace(target=f"{path}{mark}{changed}") if changed else None


def query_case_changed(sent: Sent, rng: Random) -> Sent | None:
    """Of a name: the case of escapes in values does not count."""
    path, mark, query = sent.target.partition("?")
    pairs = query.split("&")
    place = rng.randrange(len(pairs))
    name, equals, value = pairs[place].partition("=")
    if name.swapcase() == name:
        return None
    pairs[place] = name.swapcase() + equals + value
    return sent._replace(target=f"{path}{mark}{'&'.join(pairs)}")


def query_dropped(sent: Sent, rng: Random) -> Sent | None:
    path, mark, query = sent.target.partition("?")
    pairs = query.split("&")
    del pairs[rng.randrange(len(pairs))]
    return sent._replace(target=f"{path}{mark}{'&'.join(pairs)}") if query else None


def query_added(sent: Sent, rng: Random) -> Sent:
    path, _, query = sent.target.partition("?")
    pairs = query.split("&") if query else []
    names = ["Action=DeleteQueue", "x", "", "QueueUrl=/000000000000/other", *pairs]
    pairs.insert(rng.randrange(len(pairs) + 1), rng.choice(names))
    if len(pairs) == 1 and not pairs[0]:
        pairs = ["", ""]  # a question mark alone adds nothing
    return sent._replace(target=f"{path}?{'&'.join(pairs)}")


def header_changed(sent: Sent, rng: Random) -> Sent | None:
    name = signed_names(sent, rng)
    value = header_of(sent, name) or ""
    changed = value.swapcase() if rng.random() < 0.3 else other_letter(value, rng)
    return with_header(sent, name, changed) if changed and changed != value else None


def header_dropped(sent: Sent, rng: Random) -> Sent:
    return with_header(sent, signed_names(sent, rng), None)


def header_emptied(sent: Sent, rng: Random) -> Sent:
    return with_header(sent, signed_names(sent, rng), "")


def header_renamed(sent: Sent, rng: Random) -> Sent:
    old = signed_names(sent, rng)
    new = rng.choice([f"{old}s", f"x-{old}", old.replace("-", "_") + "_"])
    return sent._replace(headers=[(new if name.lower() == old else name, value) for name, value in sent.headers])


def header_doubled(sent: Sent, rng: Random) -> Sent:
    name = signed_names(sent, rng)
    value = rng.choice([header_of(sent, name) or "", "AmazonSQS.DeleteQueue", "other.test", ""])
    headers = list(sent.headers)
    headers.insert(rng.randrange(len(headers) + 1), (name, value))
    return sent._replace(headers=headers)


def headers_swapped(sent: Sent, rng: Random) -> Sent | None:
    one, two = signed_names(sent, rng), signed_names(sent, rng)
    values = header_of(sent, one), header_of(sent, two)
    return with_header(with_header(sent, one, values[1]), two, values[0]) if values[0] != values[1] else None


def header_added(sent: Sent, rng: Random) -> Sent | None:
    added = rng.choice(
        [
            ("X-Amz-Target", "AmazonSQS.DeleteQueue"),
            ("x-amz-security-token", TOKEN),
            ("X-Amz-Date", "20260131T120000Z"),
            ("X-AMZ-Anything", "1"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("X-Amz-Target ", "AmazonSQS.DeleteQueue"),
            ("Authorization", "Basic eDp5"),
        ]
    )
    return sent._replace(headers=[*sent.headers, added])


def body_changed(sent: Sent, rng: Random) -> Sent:
    body = bytearray(sent.body)
    if not body or rng.random() < 0.3:
        return sent._replace(body=rng.choice([sent.body + b"\n", sent.body + b" ", b" " + sent.body]))
    if rng.random() < 0.3:
        return sent._replace(body=sent.body[: rng.randrange(len(body))])
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return sent._replace(body=bytes(body))


def authorization_part_changed(sent: Sent, rng: Random) -> Sent | None:
    """One letter of the key, the day, the region, the service, the end of the scope, the headers, the signature."""
    value = header_of(sent, "authorization")
    if value is None:
        return None
    changed = value.swapcase() if rng.random() < 0.05 else other_letter(value, rng)
    return with_header(sent, "authorization", changed) if changed else None


def authorization_reshaped(sent: Sent, rng: Random) -> Sent | None:
    value = header_of(sent, "authorization")
    if value is None:
        return None
    head, _, signature = value.partition("Signature=")
    scope = head.partition("Credential=")[2].partition(",")[0]
    names = head.partition("SignedHeaders=")[2].rstrip(", ")
    listed = names.split(";")
    fewer = [name for name in listed if name != rng.choice(listed)]
    changed = rng.choice(
        [
            head + "Signature=" + signature[: rng.randrange(64)],
            value + rng.choice(["0", ",", "x", ", Signature=" + signature, ";"]),
            head + "Signature=" + signature.upper(),
            head + "Signature=" + "0" * 64,
            head,
            f"Signature={signature}, {head}",
            value.replace(", ", rng.choice(["; ", " ", ",\t", ""])),
            value.replace(
                "AWS4-HMAC-SHA256", rng.choice(["AWS4-HMAC-SHA1", "aws4-hmac-sha256", "AWS4-HMAC-SHA256,", ""])
            ),
            value.replace(scope, "/".join(scope.split("/")[: rng.randrange(5)])),
            value.replace(scope, f"{scope}/"),
            value.replace(scope, scope.replace("/", "%2F")),
            value.replace("/aws4_request", rng.choice(["/aws4_Request", "", "/aws4_request/aws4_request"])),
            value.replace(names, ";".join(fewer)),
            value.replace(names, ";".join(reversed(listed))) if len(listed) > 1 else head,
            value.replace(names, names + ";" + rng.choice(["user-agent", "x-not-there", listed[-1], "", "x y"])),
            value.replace(names, names.upper()),
            value.replace("Credential=", "Credential ="),
        ]
    )
    return with_header(sent, "authorization", changed) if changed != value else None


def date_changed(sent: Sent, rng: Random) -> Sent | None:
    """In the header or the query, in the scope too or not."""
    date = rng.choice(DATES)
    old = "20260131T120000Z"
    changed = sent._replace(
        target=sent.target.replace(old, date),
        headers=[(name, value.replace(old, date)) for name, value in sent.headers],
    )
    if rng.random() < 0.5:
        changed = changed._replace(
            target=changed.target.replace("%2F20260131%2F", f"%2F{date[:8]}%2F"),
            headers=[(name, value.replace("/20260131/", f"/{date[:8]}/")) for name, value in changed.headers],
        )
    return changed if changed != sent else None


def expiry_changed(sent: Sent, rng: Random) -> Sent | None:
    other = rng.choice(["0", "-1", "61", "604800", "604801", "", "60 ", "%2B60", "060", "6e1"])
    changed = sent._replace(target=sent.target.replace("X-Amz-Expires=60", f"X-Amz-Expires={other}"))
    return changed if changed != sent else None


def both_schemes(sent: Sent, rng: Random) -> Sent:
    if "X-Amz-Signature" in sent.target:
        value = rng.choice(["", "AWS4-HMAC-SHA256", "Basic eDp5"])
        return sent._replace(headers=[*sent.headers, ("Authorization", value)])
    name = rng.choice(["Algorithm", "Credential", "Signature", "Date", "Expires", "Security-Token", "SignedHeaders"])
    mark = "&" if "?" in sent.target else "?"
    return sent._replace(target=f"{sent.target}{mark}X-Amz-{name}=1")


MUTATIONS: tuple[Mutate, ...] = (
    *(another_method, another_path, query_changed, query_case_changed, query_dropped, query_added, header_changed),
    *(header_dropped, header_emptied, header_renamed, header_doubled, headers_swapped, header_added, body_changed),
    *(authorization_part_changed, authorization_reshaped, date_changed, expiry_changed, both_schemes),
)
