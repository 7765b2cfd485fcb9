"""What people see of a promotion in MLflow: which release is champion, since when, why, and what it was compared with.

Knows Markdown and entries of the log. Does not know how MLflow is asked.
"""

from collections.abc import Sequence

from assay.registry.promotion_entry import CHAMPION, Check, Entry

SHOWN = 10
"""Entries of the history; `assay release log` has all."""
HEAD = "| entry | at | by | action | alias | from | to | why | waived |\n|---|---|---|---|---|---|---|---|---|"


def describe_standing(newest: Entry, entries: Sequence[Entry], log: str) -> str:
    """The description of the registered model: who is champion, on what evidence, and the latest history."""
    champion = newest.aliases.get(CHAMPION)
    mine = [one for one in reversed(entries) if one.alias == CHAMPION and one.after == champion]
    parts = ["**No champion.**"] if champion is None else [f"**Champion: {champion.shown}**"]
    if mine:
        parts = [describe_entry(mine[0])]
        first = next((one for one in mine if one.checks), None)
        if first is not None and first is not mine[0]:
            parts.append(f"It passed the gate with entry {first.number}:\n\n{describe_entry(first)}")
    challenger = newest.aliases.get("challenger")
    if challenger is not None:
        parts.append(f"Challenger: {challenger.shown}")
    rows = [
        f"{_row_of(one)} {_cell(one.by)} | {one.action} | {one.alias} | {_from(one)} "
        f"| v{one.after.version} | {_cell(one.reason)} | {', '.join(check.name for check in one.waived)} |"
        for one in reversed(entries[-SHOWN:])
    ]
    parts.append("\n".join([HEAD, *rows]))
    parts.append(f"The promotion log is the truth, the alias follows it: `{log}`")
    return "\n\n".join(parts)


def is_described(description: str, newest: Entry) -> bool:
    """Whether a description is of this state of the log, and not of an earlier one."""
    return f"{HEAD}\n{_row_of(newest)} " in description


def describe_entry(entry: Entry) -> str:
    """One promotion, with its checks."""
    head = f"**{entry.alias.capitalize()}: {entry.after.shown}**, {_verb(entry)} {entry.at} by {_cell(entry.by)}"
    compared = "There was none before it."
    if entry.before:
        compared = f"{'Compared with' if entry.checks else 'No more:'} {entry.before.shown}."
    lines = [f"{head}: {_cell(entry.reason)}" if entry.reason else head, compared]
    if entry.checks:
        lines.append("\n".join(["| check | | found | on |", *["|---|---|---|---|"], *map(_row, entry.checks)]))
    return "\n\n".join(lines)


def _row(check: Check) -> str:
    mark = "passed" if check.passed else f"**waived**: {_cell(check.waived)}" if check.waived else "**failed**"
    on = "; ".join(f"{one.said}{f' (run {one.run[:8]})' if one.run else ''}" for one in check.evidence)
    return f"| {check.name} | {mark} | {_cell(check.said)} | {_cell(on)} |"


def _row_of(entry: Entry) -> str:
    return f"| {entry.number} | {entry.at} |"


def _verb(entry: Entry) -> str:
    return {"promote": "promoted", "rollback": "gone back to"}[entry.action]


def _from(entry: Entry) -> str:
    return f"v{entry.before.version}" if entry.before else ""


def _cell(text: str) -> str:
    """Words of people, harmless in a table."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").replace(">", "&gt;").split())
