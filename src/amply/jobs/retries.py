"""When a failed webhook is tried again: pure arithmetic.

The schedule is the one of Standard Webhooks 1.0.0, "Retry schedule". Must not know deliveries, the clock or HTTP.
"""

import hashlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Seconds before the 1st, 2nd, ... 10th attempt: some 75 hours in all.
SCHEDULE_S = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)

# No receiver puts the next attempt off for longer.
RETRY_AFTER_MAX_S = 86_400

# Up to this share of a delay is added, so that endpoints which failed together are not tried again together.
_JITTER = 0.1

_THROTTLED = {429, 502, 503, 504}


def delay_s(attempts: int, *, key: str, retry_after_s: int = 0) -> float | None:
    """Seconds to wait after so many failed attempts (1 or more); None when that was the last.

    `key` names the delivery and decides its jitter, so that the answer is the same wherever it is asked.
    """
    if attempts >= len(SCHEDULE_S):
        return None
    drawn = int.from_bytes(hashlib.sha256(f"{key}/{attempts}".encode()).digest()[:4]) / 2**32
    return max(SCHEDULE_S[attempts] * (1 + _JITTER * drawn), min(retry_after_s, RETRY_AFTER_MAX_S))


def retry_after_s(status: int, header: str | None, now_ms: int) -> int:
    """The seconds a Retry-After header asks for (RFC 9110, section 10.2.3: a count or a date); 0 when it asks for none.

    Only the answers that mean "not now" (429, 502, 503, 504) can ask.
    """
    if status not in _THROTTLED or header is None:
        return 0
    text = header.strip()
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, round((moment - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds()))
