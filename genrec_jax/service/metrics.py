# SPDX-License-Identifier: Apache-2.0
"""What a service counts, for Prometheus; `text` is what /metrics returns.

Names begin with genrec_. Every service has a registry of its own.
"""

from collections.abc import Callable, Mapping

import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from genrec_jax.service.asks import Reused

_SECONDS = (
  *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_LENGTHS = (0, 1, 4, 16, 64, 256, 1024, 4096)
_LAGS = (1, 10, 60, 600, 3600, 86_400, 604_800)
CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST


class _CacheFigures(Collector):
  """Of a HistoryCache; pages are there or not, all else only grows."""

  def __init__(self, figures: Callable[[], Mapping[str, float]]):
    self._figures = figures

  def collect(self):
    for name, value in self._figures().items():
      kind = GaugeMetricFamily
      if not name.startswith("pages"):
        kind = CounterMetricFamily
      yield kind(f"genrec_cache_{name}", "See docs/serving.md.", value=value)


class Metrics:
  """See the module docstring."""

  def __init__(self):
    self.registry = prometheus.CollectorRegistry()
    self._requests = self._counter(
      "requests", "Answered requests.", "route", "code"
    )
    self._request_seconds = self._histogram(
      "request_seconds", "From the first byte to the answer.", _SECONDS, "route"
    )
    self._queue_seconds = self._histogram(
      "queue_seconds", "Requests waited for the model.", _SECONDS
    )
    self._model_seconds = self._histogram(
      "model_seconds", "Batches took.", _SECONDS
    )
    self._batch_size = self._histogram(
      "batch_size", "Requests of a batch.", _SIZES
    )
    self._rejected = self._counter(
      "rejected", "Requests without an answer.", "reason"
    )
    self._degraded = self._counter(
      "degraded", "Answers that are not the full one.", "reason"
    )
    self._compilations = self._counter(
      "compilations", "Programs made, by thread.", "thread"
    )
    self._nan = self._counter(
      "nan_scores", "Items and requests whose score was no number."
    )
    self._unknown = self._counter(
      "unknown_items", "Events of items that the model does not know."
    )
    self._events = self._counter("events", "Events sent.", "outcome")
    self._lag = self._histogram(
      "event_lag_seconds", "From an event to its arrival.", _LAGS
    )
    self._length = self._histogram(
      "history_length", "Events of the histories asked behind.", _LENGTHS
    )
    self._score = prometheus.Summary(
      "genrec_score", "Scores of first places.", registry=self.registry
    )
    self._popularity = prometheus.Summary(
      "genrec_list_popularity",
      "Mean share of items less popular than a list's.",
      registry=self.registry,
    )
    self._share = prometheus.Gauge(
      "genrec_model_share",
      "Share of users that a version answers.",
      ["model", "catalogue"],
      registry=self.registry,
    )
    self._cache_requests = self._counter(
      "cache_requests",
      "Requests of which something was reused (hit), or why nothing.",
      "outcome",
    )
    self._ready = self._counter(
      "ready_lists",
      "Questions that a list made ahead answered, or why not.",
      "outcome",
    )
    self._cache_events = self._counter(
      "cache_events", "Events that were reused, or computed.", "kind"
    )
    self._queue_length = prometheus.Gauge(
      "genrec_queue_length", "Requests that wait.", registry=self.registry
    )

  def _counter(self, name: str, about: str, *labels: str) -> prometheus.Counter:
    return prometheus.Counter(
      f"genrec_{name}", about, labels, registry=self.registry
    )

  def _histogram(
    self, name: str, about: str, buckets: tuple, *labels: str
  ) -> prometheus.Histogram:
    return prometheus.Histogram(
      f"genrec_{name}", about, labels, buckets=buckets, registry=self.registry
    )

  def watch_queue(self, length: Callable[[], int]) -> None:
    """Reads the length of the queue whenever it is asked for."""
    self._queue_length.set_function(length)

  def watch_cache(self, figures: Callable[[], Mapping[str, float]]) -> None:
    """Reads a cache's figures whenever it is asked for them."""
    self.registry.register(_CacheFigures(figures))

  def reused(self, reused: Reused) -> None:
    """What there was of the history behind an answer."""
    self._cache_requests.labels(reused.why or "hit").inc()
    self._cache_events.labels("hit").inc(reused.hit)
    self._cache_events.labels("new").inc(reused.new)

  def ready(self, outcome: str) -> None:
    """A list that was made ahead was looked for."""
    self._ready.labels(outcome).inc()

  def answered(self, route: str, code: int, seconds: float) -> None:
    """A request has its answer, whatever it is."""
    self._requests.labels(route, str(code)).inc()
    self._request_seconds.labels(route).observe(seconds)

  def batch(self, size: int, seconds: float) -> None:
    """A batch is done."""
    self._batch_size.observe(size)
    self._model_seconds.observe(seconds)

  def queued(self, seconds: float) -> None:
    """A request has waited."""
    self._queue_seconds.observe(seconds)

  def rejected(self, reason: str) -> None:
    """A request gets no answer."""
    self._rejected.labels(reason).inc()

  def degraded(self, reason: str) -> None:
    """An answer is not the full one."""
    self._degraded.labels(reason).inc()

  def compiled(self, thread: str) -> None:
    """A thread has made a program."""
    self._compilations.labels(thread).inc()

  def nan(self, count: int) -> None:
    """Scores were no numbers."""
    self._nan.inc(count)

  def history(self, length: int, unknown_items: int) -> None:
    """A history is asked behind."""
    self._length.observe(length)
    self._unknown.inc(unknown_items)

  def event(self, outcome: str, lag_seconds: float) -> None:
    """An event was sent."""
    self._events.labels(outcome).inc()
    self._lag.observe(max(0.0, lag_seconds))

  def listed(self, best: float, popularity: float) -> None:
    """A list is told: the score of its first place, and how popular it is."""
    self._score.observe(best)
    self._popularity.observe(popularity)

  def shares(self, shares: Mapping[tuple[str, str], float]) -> None:
    """(version, catalogue) -> the share that it answers."""
    self._share.clear()
    for labels, share in shares.items():
      self._share.labels(*labels).set(share)

  def text(self) -> bytes:
    """All of it, as Prometheus reads it."""
    return prometheus.generate_latest(self.registry)
