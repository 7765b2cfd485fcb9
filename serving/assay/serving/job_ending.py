"""How a job ended, in the words of its command: what its exit code means, and why it failed.

Knows what the command line writes when it fails, and picks that out of its output. Of the output nothing else is shown,
and of that no place: it may be another's, such as of who has the store just now. Does not know who runs
the command.
"""

import re
from dataclasses import dataclass

FINISHED_BADLY, INTERRUPTED = 3, 4
"""Exit codes of the command line that have more to say than that it failed."""
_FIRST = re.compile(r"(?:[A-Z]\w*Error|Interrupted) (?P<what>\S.*)")
_PART = re.compile(r"  (?P<name>where|why|fix): (?P<text>.*)")
_SCHEME = r"(?:s3|file|https?|sqlite):/"
_PLACE = re.compile(rf"""'(?:{_SCHEME}|/)[^']*'|\b{_SCHEME}[^\s'",;]*|(?<![\w:/.])~?/[^\s'",;]*""")
"""A uri or a whole path, quoted for a shell or bare; `models:/…` is none."""
_MOST = 2000
"""Characters of one part that are told."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a job is over, if it did not simply succeed."""

    message: str
    fix: str


def read_ending(output: list[str], exit_code: int | None) -> Ending:
    """Why a job failed, from the last error its command wrote; without one, from its exit code."""
    if exit_code == FINISHED_BADLY:
        return Ending("finished: every image has its verdict, but more of them have faults than max_fault_rate", "")
    for number in range(len(output) - 1, -1, -1):
        first = _FIRST.fullmatch(output[number])
        if first is not None:
            return _told(first["what"], output[number + 1 :])
    code = "" if exit_code is None else f" (exit code {exit_code})"
    return Ending(
        f"it ended without a word{code}: it was killed, or could not be started",
        "what was committed stays; ask for the same again, with another Idempotency-Key",
    )


def _told(what: str, rest: list[str]) -> Ending:
    parts, name = {"what": what}, "what"
    for line in rest:
        part = _PART.fullmatch(line)
        name, text = (part["name"], part["text"]) if part else (name, line.strip())
        parts[name] = " ".join([parts[name], text] if name in parts else [text])
    message = ": ".join(parts[one] for one in ("what", "why") if parts.get(one))
    return Ending(*(_PLACE.sub("…", part)[:_MOST] for part in (message, parts.get("fix", ""))))
