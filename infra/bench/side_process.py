"""The process of one side: `python -m infra.bench.side_process module:Class TASK`.

Takes one order a line and answers each with one line of JSON, until its orders end. Knows that protocol only.
"""

import dataclasses
import importlib
import json
import os
import sys
from contextlib import ExitStack
from typing import TextIO

from infra.bench.race import Side
from infra.bench.side import Task


def main() -> None:
    """Make the side, then run a lap for each order."""
    answers = _claim_stdout()
    name, task = sys.argv[1:]
    with ExitStack() as stack:
        try:
            side = _make(name, Task.model_validate_json(task))
            stack.callback(side.close)
            _say(answers, {"ready": name})
            for _ in sys.stdin:
                _say(answers, dataclasses.asdict(side.lap()))
        except Exception as error:
            _say(answers, {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]})
            raise


def _make(name: str, task: Task) -> Side:
    module, _, kind = name.partition(":")
    side: Side = getattr(importlib.import_module(module), kind)(task)
    return side


def _claim_stdout() -> TextIO:
    """Stdout for answers only: what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, told: dict[str, object]) -> None:
    answers.write(json.dumps(told, default=dict) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
