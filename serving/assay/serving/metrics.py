"""What a replica counts, by Prometheus' rules for names; and many replicas' counts as one page.

Knows names and the text format. Does not know who counts. Each replica has numbers of its own and reports them to the
watcher, so that `/metrics` tells of all of them whichever replica answers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One process's numbers."""

    def __init__(self) -> None:
        self.registry = its = CollectorRegistry()
        self.requests = Counter("assay_requests", "Requests answered", ["route", "status"], registry=its)
        self.refused = Counter("assay_refused", "Requests refused, by problem code", ["code"], registry=its)
        self.seconds = Histogram(
            "assay_request_seconds",
            "Seconds from a request's head to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=its,
        )
        self.images = Counter("assay_images", "Images judged", ["policy", "outcome", "action"], registry=its)
        self.findings = Counter("assay_findings", "Findings, by label", ["policy", "label", "action"], registry=its)
        self.batch = Histogram("assay_batch_views", "Views encoded at once", buckets=_SIZES, registry=its)
        self.encode_seconds = Histogram(
            "assay_encode_seconds", "Seconds to encode and judge a batch", buckets=_SECONDS, registry=its
        )
        self.under_way = Gauge("assay_images_under_way", "Images admitted and not yet answered", registry=its)
        self.held = Gauge("assay_body_bytes_held", "Bytes of request bodies held", registry=its)
        self.release = Gauge("assay_release_info", "The release that answers", ["release", "version"], registry=its)
        self.degraded = Gauge("assay_degraded", "1 while something newer could not be taken on", registry=its)
        self.swaps = Counter("assay_swaps", "Changes of release", ["result"], registry=its)
        self.shadowed = Counter("assay_shadow_images", "Images the challenger judged, too", ["policy"], registry=its)
        self.differences = Counter(
            "assay_shadow_differences",
            "Images it decides otherwise",
            ["policy", "champion", "challenger"],
            registry=its,
        )

    def families(self) -> list[Metric]:
        """The numbers as they are now; may be pickled."""
        return list(self.registry.collect())

    def serving(self, release: str, version: str) -> None:
        """Say which release answers."""
        self.release.clear()
        self.release.labels(release, version).set(1)


@dataclass(frozen=True, eq=False)
class _Merged(Collector):
    replicas: Mapping[str, Iterable[Metric]]

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for replica, families in self.replicas.items():
            for family in families:
                into = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    into.samples.append(sample._replace(labels={**sample.labels, "replica": replica}))
        yield from merged.values()


def page(replicas: Mapping[str, Iterable[Metric]]) -> bytes:
    """All replicas' numbers as Prometheus reads them, each with its `replica`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(replicas))
    return generate_latest(registry)
