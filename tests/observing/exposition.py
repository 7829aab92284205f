"""What a service tells at /metrics, read as Prometheus reads it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Exposition:
    """All samples of one answer."""

    samples: tuple[Sample, ...]

    def __getitem__(self, name: str) -> float:
        """The value of a metric without labels."""
        (found,) = [sample for sample in self.samples if sample.name == name]
        assert not found.labels
        return float(found.value)

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of a metric that have these labels; 0 where there is none."""
        return sum(sample.value for sample in self.named(name, **labels))

    def named(self, name: str, **labels: str) -> Iterator[Sample]:
        """The series of a metric that have these labels."""
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def series(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """The name and the labels of every sample."""
        return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in self.samples}

    def values(self, label: str) -> set[str]:
        """All values of a label."""
        return {sample.labels[label] for sample in self.samples if label in sample.labels}


@cache
def scattered() -> httpx.Client:
    """A client that opens a connection for each request, so that any process may get it."""
    return httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


def exposition(url: str) -> Exposition:
    """What any process of the service tells now."""
    response = scattered().get(f"{url}/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.text))
    for family in families:
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
    return Exposition(tuple(sample for family in families for sample in family.samples))


def settled(url: str, is_reached: Callable[[Exposition], bool], seconds: float = 10) -> Exposition:
    """The first that is as it should be, or the last in so many seconds: what is counted when an
    answer has been sent may be told a moment later."""
    deadline = time.monotonic() + seconds
    while True:
        told = exposition(url)
        if is_reached(told) or time.monotonic() > deadline:
            return told
        time.sleep(0.05)
