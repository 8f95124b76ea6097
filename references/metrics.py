"""The page about what is measured."""

from typing import Protocol, cast

from prometheus_client.metrics import MetricWrapperBase

from poddispatchd.observability.metrics import Metrics
from references.markdown import code, prose, table


class _Described(Protocol):
    _type: str
    _name: str
    _documentation: str
    _labelnames: tuple[str, ...]


def page() -> str:
    """Every metric, and the values of the labels that are known from the start."""
    metrics = Metrics()
    values: dict[str, set[str]] = {}
    rows = []
    for family in metrics.registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(f"{family.name} {label}", set()).add(value)
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        about = cast("_Described", metric)
        name = f"{about._name}{'_total' if about._type == 'counter' else ''}"
        labels = [_label(label, values.get(f"{about._name} {label}", set())) for label in about._labelnames]
        rows.append((code(name), about._type, prose(about._documentation), "; ".join(labels)))
    return (
        "# Metrics\n\n"
        "`http://127.0.0.1:9765/metrics` (`ops.listen`), for Prometheus. Base units; no ids of tasks in "
        "labels. Besides these: `poddispatchd_build_info` with the version, and `process_*` as every client "
        "of Prometheus has them. Alert rules and a dashboard are in `contrib/`.\n\n"
    ) + table(("metric", "type", "meaning", "labels"), sorted(rows))


def _label(name: str, known: set[str]) -> str:
    if not known or name == "runner_manager":
        return code(name)
    return f"{code(name)}: {', '.join(sorted(known))}"
