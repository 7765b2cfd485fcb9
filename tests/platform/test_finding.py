from pathlib import Path

from assay.platform.finding import RULES, Finding, Severity, order

DOCS = Path(__file__).parents[2] / "infra" / "docs" / "library.md"


def test_every_rule_is_documented_with_its_severity() -> None:
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    told = {row[1].strip(" `"): row[2].strip() for row in rows if row[2].strip() in set(Severity)}
    assert told == {key: str(rule.severity) for key, rule in RULES.items()}


def test_the_worst_come_first() -> None:
    found = [
        Finding.of(rule, "a.yaml", line, "", "")
        for rule, line in (("no-crosswalk", 1), ("negation", 9), ("negation", 2), ("too-long", 5))
    ]
    assert [(one.rule, one.line) for one in sorted(found, key=order)] == [
        ("too-long", 5),
        ("negation", 2),
        ("negation", 9),
        ("no-crosswalk", 1),
    ]
