"""Numbers by Prometheus' rules, of all replicas on one page."""

import pickle
import re

from prometheus_client.parser import text_string_to_metric_families

from assay.serving.metrics import Metrics, page


def two() -> str:
    found = {}
    for replica, count in {"a": 2, "b": 3}.items():
        metrics = Metrics()
        metrics.requests.labels("/v1/analyze", "200").inc(count)
        metrics.seconds.labels("/v1/analyze").observe(0.02)
        metrics.serving(f"release-{replica}", "4")
        found[replica] = pickle.loads(pickle.dumps(tuple(metrics.families())))  # as it comes from another process
    return page(found).decode()


def test_each_replicas_numbers_stand_beside_the_others() -> None:
    samples = [one for family in text_string_to_metric_families(two()) for one in family.samples]
    counts = {one.labels["replica"]: one.value for one in samples if one.name == "assay_requests_total"}
    assert counts == {"a": 2, "b": 3}


def test_each_name_is_declared_once_and_holds_to_the_rules() -> None:
    text = two()
    names = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert len(names) == len(dict(names))
    for name, kind in names:
        assert re.fullmatch(r"assay_[a-z_]+", name)
        assert name.endswith("_total") or kind != "counter"
        assert not re.search(r"_(ms|milliseconds|kb|percent)$", name), "base units"


def test_one_release_is_told_at_a_time() -> None:
    metrics = Metrics()
    metrics.serving("one", "1")
    metrics.serving("two", "2")
    (told,) = re.findall(r'assay_release_info\{.*release="(\w+)"', page({"a": metrics.families()}).decode())
    assert told == "two"
