"""Which failures are of one kind: the same exception out of the same place, whatever ids, numbers and names it told.

A function of texts; must not know where they come from.
"""

import functools
import hashlib
import re

# What the transport's records have at most; nobody's longer texts are worth the time.
_MESSAGE_READ = 1_000
_TRACEBACK_READ = 4_000
_MESSAGE_CHARS = 200
_FRAMES = 4

# As Python's traceback module writes it; inside an exception group each line has a margin.
_FRAME = re.compile(r'[ |]*File "([^"]+)", line \d+, in (.+)')
_PART_OF_GROUP = re.compile(r"[ |]*\+-[+-]* \S+ -+")

# What changes from failure to failure. A quotation may have lost its end, for long messages are cut.
_VALUE = re.compile(
    r"""
      (?<!\w) ' (?: \\. | [^'\\] )* (?: '(?!\w) | \Z )
    | (?<!\w) " (?: \\. | [^"\\] )* (?: "(?!\w) | \Z )
    | ` [^`]* ` | “ [^”]* ” | « [^»]* »
    | \( \d+ [ ] sub-exceptions? \)
    | (?<!\w) \w+ :// [^\s,;)\]}'"]+                                     # a URL
    | (?<![\w.+-]) [\w.+-]+ @ [\w.-]+                                    # an e-mail address, a worker
    | (?<![\w/]) / [^\s,;)\]}'"]+                                        # a path
    | (?<![\w.-]) [a-zA-Z-]+ (?: \. [a-zA-Z-]+ ){2,} (?: : \d+ )? \b     # a host
    | (?<![\w.-]) [a-zA-Z-]+ \. (?: com | dev | example | internal | io | lan | local | net | org | test ) \b
    | (?<![\w.-]) [\w-]+ : \d{2,5} \b                                    # a host's short name and its port
    | (?<![\w:]) (?: [0-9a-fA-F]* : ){2,} [0-9a-fA-F:.]+                 # an IPv6 address, a time of day
    | (?<![\w.-]) [\w.-]* \d [\w.-]*                                     # a number, a UUID, 0x7f, db-1.internal
    | (?<!\w) [0-9a-fA-F]{8,} \b
    """,
    re.VERBOSE,
)
_PLACEHOLDER = "#"
# A list of three values is like one of four, and like a single one.
_VALUES_IN_A_ROW = re.compile(r"[\[({<]*#(?:\W+#)*[\])}>]*")
# A folder that is another one with each release or run.
_CHANGING_FOLDER = re.compile(r"tmp\w+|[\d._-]{4,}|[0-9a-f-]{8,}")


def fingerprint(reason: str, exception: str, message: str, traceback: str) -> str:
    """The failure's kind, 12 hex digits.

    It is made of the reason, the exception's class, the message without its values, and the innermost frames without
    their line numbers. Of chained exceptions the last one's frames come first; of a group's, those of its last part.
    """
    told = "\0".join([reason, exception, _without_values(message), *_frames(traceback)])
    return hashlib.blake2b(told.encode("utf-8", "replace"), digest_size=6).hexdigest()


def _without_values(message: str) -> str:
    placed = _VALUE.sub(_PLACEHOLDER, message[:_MESSAGE_READ])
    return " ".join(_VALUES_IN_A_ROW.sub(_PLACEHOLDER, placed).split())[:_MESSAGE_CHARS]


def _frames(traceback: str) -> list[str]:
    """File and function, the innermost first. Each is told once, for recursion ends at any depth."""
    frames: list[str] = []
    for line in reversed(traceback[-_TRACEBACK_READ:].splitlines()):
        if len(frames) == _FRAMES or (frames and _PART_OF_GROUP.fullmatch(line)):
            break
        found = _FRAME.fullmatch(line)
        if found:
            frame = f"{_place(found[1])} {found[2]}"
            if frame not in frames:
                frames.append(frame)
    return frames


@functools.lru_cache(maxsize=1000)
def _place(file: str) -> str:
    """The file and its folder: what is above them depends on the machine."""
    *folders, name = re.split(r"[\\/]", file)[-2:]
    folders = [_PLACEHOLDER if _CHANGING_FOLDER.fullmatch(folder) else folder for folder in folders]
    return "/".join([*folders, name])
