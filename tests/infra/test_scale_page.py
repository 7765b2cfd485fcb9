import json
from pathlib import Path

from infra.bench.scale_inputs import INPUTS, Mark, inputs_of
from infra.bench.scale_page import LATEST, MODELS, PAGE, Case, page


def test_the_page_is_what_the_script_computes() -> None:
    assert PAGE.read_text() == page(json.loads(LATEST.read_text())), "run `python -m infra.bench.scale_page`"


def test_every_input_says_how_it_is_known() -> None:
    rows = [line for line in PAGE.read_text().partition("## Inputs")[2].splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(INPUTS)
    assert all(any(f"| {mark} |" in row for mark in Mark) for row in rows)
    assert all(one.source for one in INPUTS.values())


def test_what_the_bench_measured_comes_first() -> None:
    latest = {"GPU": {"facts": {"ViT-B-32": 12_345.0}}, "R11": {"value": 0.5}}
    found = inputs_of(latest)
    assert (found["ViT-B/32 on a GPU"].value, found["ViT-B/32 on a GPU"].mark) == (12_345.0, Mark.MEASURED)
    assert found["finding what is left"].value == 0.5
    assert found["ViT-B/16 on a GPU"] == INPUTS["ViT-B/16 on a GPU"]
    assert page(latest) != page({})


def test_the_longest_limit_binds() -> None:
    for model in MODELS:
        for packed in (False, True):
            case = Case(INPUTS, model, packed)
            hours = case.hours()
            assert hours[case.bound_by] == max(hours.values())
            assert case.vcpus * case.cpu_rate >= case.gpu_rate > (case.vcpus - 1) * case.cpu_rate


def test_a_case_by_hand() -> None:
    """ViT-L/14, packed: 10^9 images at 2,700 a second, of which 97 % are had, seven vCPUs, a range for every 256."""
    case = Case(INPUTS, "ViT-L/14", packed=True)
    gpu_h = 1e9 / 2619 / 3600
    shards = 1e9 / 256
    assert abs(case.hours()["GPU"] - gpu_h) < 1e-6
    dollars = case.dollars()
    assert abs(dollars["GPU"] - gpu_h * 2.67) < 1e-6
    assert abs(dollars["vCPUs"] - gpu_h * 7 * 0.04) < 1e-6
    assert abs(dollars["requests"] - (3 * shards * 0.4 + (2 * shards * (1 + 1 / 256) + 1e6) * 5) / 1e6) < 1e-6


def test_the_page_is_short() -> None:
    assert len(Path(PAGE).read_text().splitlines()) < 100
