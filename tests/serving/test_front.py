"""Serve's HAProxy configuration, mended: of the very text that the installed Ray writes."""

import re
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest
from ray.serve._private.haproxy import HAProxyConfig
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from assay.serving.front import HEAD_S, PROGRAM, REFUSAL, mended
from assay.serving.problem import Code, Problem


@pytest.fixture(scope="module")
def written() -> str:
    """What Serve writes, as far as we change it."""
    environment = jinja2.Environment()
    environment.filters["haproxy_fmt"] = str
    found: str = environment.from_string(HAPROXY_CONFIG_TEMPLATE).render(
        config=HAProxyConfig(error_file_path="/x/500.http"),
        route_info={"status": 200, "routes_content_type": "text/plain", "routes_message": "{}"},
    )
    return found


def test_ray_still_lacks_these_lines(written: str) -> None:
    """When it does not, `front.py` can go."""
    assert "timeout http-request" not in written
    assert "mode 666 level admin" in written
    assert re.search(r"^\s*bind (\*)?:\d+$", written, re.MULTILINE)


def test_heads_have_a_deadline_and_statistics_are_this_machines(written: str) -> None:
    text = mended(written, "/x/503.http")
    defaults = text.split("\ndefaults\n")[1]
    assert defaults.lstrip().startswith(f"timeout http-request {HEAD_S}s")
    assert "mode 600 level admin" in text
    assert not re.search(r"^\s*bind (\*)?:\d+$", text, re.MULTILINE)
    assert re.findall(r"errorfile (\d+) (\S+)", text) == [(code, "/x/503.http") for code in ("502", "503", "504")]


def test_mending_twice_changes_nothing(written: str) -> None:
    once = mended(written, "/x/503.http")
    assert mended(once, "/x/503.http") == once


def test_serves_own_proxy_is_never_turned_to() -> None:
    line = "    server fallback 127.0.0.1:8500 check backup"
    assert mended(f"backend x\n{line}\n", "/x").splitlines()[1] == f"{line} disabled"
    assert " check backup" in HAPROXY_CONFIG_TEMPLATE, "Ray still writes such a line"


def test_what_it_tells_is_our_problem() -> None:
    problem = Problem(Code.UNAVAILABLE, "no replica answers", fix="ask again", retry_after_s=1)
    assert problem.document("none").model_dump_json(exclude_none=True) == REFUSAL


def test_the_program_is_haproxy_and_starts_at_once() -> None:
    program = Path(sys.executable).with_name(PROGRAM)
    # Serve's own variable names us: following it would start us again, for ever.
    environment = {"RAY_SERVE_HAPROXY_BINARY_PATH": str(program), "PATH": "/usr/bin:/bin"}
    told = subprocess.run([program, "-v"], env=environment, capture_output=True, text=True, check=True, timeout=30)
    assert "HAProxy version 2.8" in told.stdout


def test_it_imports_next_to_nothing() -> None:
    asked = (
        "import sys, assay.serving.front; print([n for n in ('pydantic', 'pathlib', 'asyncio') if n in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert told.strip() in {"[]", "['pathlib']"}  # an editable install's finder has pathlib
