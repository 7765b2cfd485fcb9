"""infra/docs/serving.md says what is: its tables, flags and paths."""

import re
from pathlib import Path

from assay.serving.limits import ONLINE_BUDGET, LimitSpec
from assay.serving.openapi import document
from assay.serving.problem import KINDS
from tests.test_readme import help_of

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "infra" / "docs" / "serving.md").read_text()


def test_the_table_of_refusals_is_the_codes() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \| (.+?) \|$", DOC, re.MULTILINE)
    assert rows == [(code.value, str(kind.status), kind.title) for code, kind in KINDS.items()]


def test_every_path_is_served_and_told() -> None:
    told = set(re.findall(r"`(?:[A-Z]+ )?(/[a-z0-9/_]+)[^`]*`", DOC))
    served = set(document()["paths"])
    assert {path for path in served if not path.startswith("/v1/jobs")} <= told | {"/openapi.json"}
    assert {path for path in told if path.startswith("/v1/") and "jobs" not in path} <= served


def test_every_flag_exists() -> None:
    known = help_of("serve")
    flags = set(re.findall(r"`?(--[a-z][a-z.-]+)", DOC))
    assert len(flags) > 10
    for flag in flags:
        assert flag.removeprefix("--no") in known if flag.startswith("--no-") else flag in known, flag


def test_the_limits_are_the_defaults() -> None:
    limits, mib = LimitSpec(), 2**20
    rows = dict(re.findall(r"^\| `--limits\.([a-z-]+)` \| ([^|]+?) \|", DOC, re.MULTILINE))
    assert rows["body-bytes"] == f"{limits.body_bytes // mib} MiB"
    assert rows["bytes-at-once"] == f"{limits.bytes_at_once // mib} MiB"
    for name in ("images", "body-s", "request-s"):
        assert float(rows[name]) == getattr(limits, name.replace("-", "_"))
    budget = (
        f"{ONLINE_BUDGET.max_pixels // 10**6} MP, {ONLINE_BUDGET.max_seconds:g} s, {ONLINE_BUDGET.max_bytes // mib} MiB"
    )
    assert budget in DOC


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", DOC):
        assert (ROOT / "infra" / "docs" / target).exists() or target == "serving-jobs.md", target
