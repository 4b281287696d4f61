# SPDX-License-Identifier: Apache-2.0
"""Lists beyond accuracy: whom they show what, how new, how varied, how fair.

    config.evals.beyond_accuracy = {"name": "evaluation.BeyondAccuracy",
                                    "ks": (10,), "attribute": "genres"}

The first K places for every test request, of the model and of the baselines:
coverage, Gini and entropy of exposure, novelty (MIUF), average popularity and
its lift over the history, diversity and redundancy on fixed content vectors,
serendipity, calibration of categories, recall, each with its slices by history
length and by item popularity (metrics/beyond.py has the definitions).

    metrics   {RANKER: {"ild@10", "gini@10", ...}}, null where not defined
    counted   {RANKER: lists that each mean is over}
    slices    {RANKER: {"history_length" | "item_popularity": {SLICE: {...}}}}

Counts are of the training part. Content vectors are those of config.content;
without it, which categories an item has. No vector of the model is used.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any

from jaxtyping import Float
import numpy as np
from tqdm import tqdm

from genrec_jax.core import seams
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import count_requests, iter_requests
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.evaluation.next_item_measurement import MODEL, baseline_searches
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics import beyond
from genrec_jax.metrics.item_counts import ItemCounts
from genrec_jax.metrics.item_facts import ItemFacts
from genrec_jax.metrics.list_calibration import category_matrix

PART = "test"
# A category of more items than this, or of one, tells little.
_MAX_CATEGORIES = 1_000
_USERS_AT_ONCE = 4_096
_SHOWN = (
  *("recall", "coverage", "gini", "miuf", "lift", "ild", "redundancy"),
  *("serendipity", "miscalibration"),
)


@dataclasses.dataclass(frozen=True)
class BeyondAccuracy(Unwatched):
  """Measures the lists of all test requests.

  Attributes:
    ks: places of a list, one measurement each.
    attribute: of the items, whose values are categories; "" = none, and with
      no config.content either, neither diversity nor calibration is measured.
    filter_history: hide a user's earlier items from the candidates.
  """

  ks: tuple[int, ...] = (10,)
  attribute: str = ""
  filter_history: bool = True

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run makes no lists, or has no attribute."""
    layout = run.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "config.pipeline.layout")
    if run.retrieval is None:
      seams.require(run.system, seams.QueryModel, "config.system")
    elif run.retrieval.num_results < max(self.ks):
      raise ValueError(
        f"config.retrieval returns {run.retrieval.num_results} items, and the"
        f" ks={self.ks} of evaluation.BeyondAccuracy need {max(self.ks)}."
      )
    known = run.catalog.known_attributes.columns
    if self.attribute and self.attribute not in known:
      raise ValueError(
        f"evaluation.BeyondAccuracy.attribute={self.attribute!r} is no"
        f" attribute of the items.{choices_hint(self.attribute, known)}"
      )

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """The section: see the module docstring."""
    searches = {MODEL: run.search(loaded.params, run.index(loaded.params))}
    notes = []
    if baselines:
      others, notes = baseline_searches(run, filter_history=self.filter_history)
      searches |= others
    items = self.facts(run)
    section: dict[str, Any] = {"ks": list(self.ks), "part": PART}
    for key in ("metrics", "counted", "slices"):
      section[key] = {}
    for name, search in searches.items():
      state = self._measured(run, search, items, name)
      section["metrics"][name] = state.compute()
      section["counted"][name] = state.counted()
      section["slices"][name] = state.slices(items)
    section["notes"] = [*notes, self._convention(run)]
    return section, None

  def facts(self, run: Run) -> ItemFacts:
    """What is known of the items before anything is recommended."""
    categories_V1G = None
    if self.attribute:
      categories_V1G = categories(run.catalog, self.attribute)
    vectors_V1D = categories_V1G
    if run.config["content"]:
      vectors_V1D = run.artifacts.vectors()
    return ItemFacts(
      training_counts(run.histories), vectors_V1D, categories_V1G
    )

  def _measured(
    self, run: Run, search: seams.Search, items: ItemFacts, name: str
  ) -> beyond.BeyondAccuracyMetrics:
    state = beyond.BeyondAccuracyMetrics.empty(items, ks=self.ks)
    size, k = run.requests.batch_size, min(max(self.ks), items.num_items)
    with tqdm(
      total=count_requests(run.histories, PART),
      desc=f"lists of {name}",
      unit=" requests",
      delay=2,
      leave=False,
    ) as bar:
      for batch in iter_requests(run.histories, PART, size):
        allowed = None
        if self.filter_history:
          allowed = history_mask(batch, items.num_items)
        ids, _, _ = search(batch, k, allowed)
        state = state.merge(
          beyond.BeyondAccuracyMetrics.from_batch(
            np.asarray(ids),
            batch.target,
            [record["item"] for record in batch.history],
            items,
            ks=self.ks,
          )
        )
        bar.update(len(batch))
    return state

  def _convention(self, run: Run) -> str:
    hidden = "hidden" if self.filter_history else "among the candidates"
    content = "no content"
    if run.config["content"]:
      content = "vectors of config.content"
    elif self.attribute:
      content = f"the attribute {self.attribute!r}"
    return (
      f"lists of all test requests, the history {hidden}; counts of the"
      f" training part; diversity on {content}"
    )

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    lines = []
    for k in document["ks"]:
      names = [f"{name}@{k}" for name in _SHOWN]
      found = document["metrics"].values()
      names = [n for n in names if any(n in values for values in found)]
      lines.append(f"{'':16}" + "".join(f"{name:>18}" for name in names))
      for ranker, values in document["metrics"].items():
        cells = "".join(_cell(values.get(name)) for name in names)
        lines.append(f"{ranker:16}{cells}")
    lines += [f"note: {note}" for note in document["notes"]]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
  return f"{'-':>18}" if value is None else f"{value:>18.4f}"


def training_counts(histories: Histories) -> ItemCounts:
  """Events and users of every item in the training part."""
  counts = ItemCounts.empty(histories.manifest.num_items)
  for some in _in_blocks(range(len(histories))):
    parts = []
    for user in some:
      record = histories[user]
      parts.append(record["item"][: histories.split.train_end(record)])
    counts = counts.merge(
      ItemCounts.from_batch(parts, histories.manifest.num_items)
    )
  return counts


def _in_blocks(users: Sequence[int]) -> Iterable[Sequence[int]]:
  for start in range(0, len(users), _USERS_AT_ONCE):
    yield users[start : start + _USERS_AT_ONCE]


def categories(catalog: Catalog, attribute: str) -> Float[np.ndarray, "V1 G"]:
  """Which values of an attribute each item has, 0 or 1; row 0 is padding.

  Values of one item alone are left out, and beyond 1,000 the rarest ones; a
  missing value and '' are none.
  """
  column = catalog.attributes[attribute]
  if column.dtype.is_float():
    column = column.fill_nan(None)
  _, found_V1G = category_matrix(column.to_list())
  counts_G = found_V1G.sum(axis=0)
  kept = sorted(np.flatnonzero(counts_G > 1), key=lambda g: -counts_G[g])
  return found_V1G[:, kept[:_MAX_CATEGORIES]]
