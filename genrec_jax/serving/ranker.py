# SPDX-License-Identifier: Apache-2.0
"""A trained ranker in use: a user and items in, probabilities of actions out.

    import genrec_jax
    ranker = genrec_jax.load_ranker("WORKDIR")
    ranker.rank(["50", "181"], user="42", weights="click=1,like=10")
    ranker.rank(items, user="42", policy="diverse:attribute=category", k=10)
    ranker.what_if(["50", "181"], user="42", changes="-1=skip")
    ranker.attribution("50", user="42")

`load_ranker` reads WORKDIR/config.json, the prepared data beside it and the
parameters of the best-on-validation checkpoint. Answers are Polars tables, best
first. Serving knows all events of a user, so the whole record is the history
here, those that an evaluation asks about included.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import functools
import os
from typing import Any

from jaxtyping import Float, Int
import numpy as np
import polars as pl
from tqdm import tqdm

from genrec_jax.core import seams
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.schema import Record
from genrec_jax.data.times import int32_seconds
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.ranking.actions import Actions
from genrec_jax.ranking.attribution import attribution
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.ranking.edits import appended
from genrec_jax.ranking.slates import Choices, Policy, policy_of
from genrec_jax.ranking.utility import ValueFunction
from genrec_jax.ranking.what_if import Change, changed, changes_of


def load_ranker(
  workdir: str | os.PathLike,
  *,
  checkpoint: str = "best",
  micro_batch: int = 256,
) -> "Ranker":
  """Returns the ranker of a trained workdir.

  Args:
    workdir: a folder that scripts/train.py has filled.
    checkpoint: "best" on validation or the "latest".
    micro_batch: candidates that are scored at a time.

  Raises:
    ValueError: no run, no checkpoint, or a model that is no ranker.
  """
  run = Run.open(workdir)
  layout = run.pipeline.layout
  scores = seams.offers(run.system, seams.ScoreModel)
  if not (scores and seams.offers(layout, seams.ImpressionLayout)):
    raise ValueError(
      f"{workdir} is no ranker: {run.name} is trained to find items"
      " (scripts/recommend.py --workdir), and says of none what a user would"
      " do with it."
    )
  params = load_params(run, checkpoint).params
  scorer = CandidateScorer.of(run.system, params, layout, micro_batch)
  tasks = layout.feedback.tasks
  value = ValueFunction.of(tasks, run.config["value"])
  return Ranker(scorer, tasks, run.histories, value)


class Ranker:
  """Ranks given items for users of a data set, or for nobody known."""

  def __init__(
    self,
    scorer: CandidateScorer,
    tasks: Sequence[str],
    histories: Histories,
    value: ValueFunction | None = None,
  ):
    """Puts the parts together; `load_ranker` does it for a workdir.

    Args:
      scorer: the model.
      tasks: what it predicts.
      histories: the data set.
      value: where a call names no weights; None = 1 each.
    """
    self.scorer = scorer
    self.tasks = tuple(tasks)
    self.histories = histories
    self.value = ValueFunction.of(tasks) if value is None else value
    self.catalog = Catalog(histories.directory)
    self.users = Users(histories.directory)

  def rank(
    self,
    candidates: Iterable[object],
    user: object = None,
    *,
    weights: str | Mapping[str, int | float] = "",
    policy: str | Policy = "greedy",
    k: int | None = None,
    request_time: int | None = None,
  ) -> pl.DataFrame:
    """Returns item_id, title, value and a probability per task, best first.

    Args:
      candidates: ids of items.
      user: id of a user; None = one without history.
      weights: of the value, such as "click=1,like=10" (ranking/utility.py);
        empty = config.value.
      policy: how the list is made (ranking/slates.py); its value and
        probabilities are those that an item was placed by.
      k: places of the list; None = all candidates.
      request_time: unix seconds at which is asked; default: the time of the
        user's last event (of anybody's, for a user without) and the data set's
        median gap between events.

    Raises:
      ValueError: an unknown id (names close ones), task, policy or attribute,
        no candidates or one twice, or a request before the user's last event.
    """
    value = self.value_of(weights)
    policy = policy_of(policy) if isinstance(policy, str) else policy
    index_N = self._indices(candidates)
    k = len(index_N) if k is None else k
    if len(index_N) and k < 1:
      raise ValueError(f"k={k} must be at least 1.")
    record = self.record(user)
    time = self._query_time(record, request_time)

    def after(placed, assumed, seconds):
      longer, at = record, time
      what = f"a list of {len(placed)} items, {seconds} s each,"
      for place, fields in zip(placed, assumed, strict=True):
        longer = appended(longer, int(index_N[place]), at, fields)
        at = int(int32_seconds(np.array([at + seconds], np.int64), what)[0])
      return self._score(longer, index_N, at)

    choices = Choices(
      probabilities_NT=self._score(record, index_N, time),
      value=value,
      groups=lambda name: self._groups(name, index_N),
      actions=self.actions,
      after=after,
    )
    chosen = policy(choices, k)
    found_KT = chosen.probabilities_KT
    columns = {
      **self._named(index_N[chosen.order_K]),
      "value": value(found_KT),
    }
    for t, task in enumerate(self.tasks):
      columns[task] = found_KT[:, t]
    return pl.DataFrame(columns)

  def what_if(
    self,
    candidates: Iterable[object],
    user: object,
    changes: str | Sequence[Change],
    *,
    weights: str | Mapping[str, int | float] = "",
    request_time: int | None = None,
  ) -> pl.DataFrame:
    """Scores behind the history and behind a changed one, best first.

    Args:
      candidates: ids of items.
      user: id of a user.
      changes: of the history, such as "-1=skip" (ranking/what_if.py).
      weights: as in `rank`.
      request_time: as in `rank`.

    Returns:
      item_id, title, value, value_if, and TASK and TASK_if of every task, in
      the order of `value`.
    """
    value = self.value_of(weights)
    if isinstance(changes, str):
      changes = changes_of(changes)
    index_N = self._indices(candidates)
    record = self.record(user)
    # Asked at one time, whatever the change.
    time = self._query_time(record, request_time)
    other = changed(record, changes, self.actions)
    before_NT = self._score(record, index_N, time)
    after_NT = self._score(other, index_N, time)
    columns = {
      **self._named(index_N),
      "value": value(before_NT),
      "value_if": value(after_NT),
    }
    for t, task in enumerate(self.tasks):
      columns |= {task: before_NT[:, t], f"{task}_if": after_NT[:, t]}
    table = pl.DataFrame(columns)
    return table[np.argsort(-columns["value"], kind="stable")]

  def attribution(
    self,
    candidate: object,
    user: object,
    *,
    request_time: int | None = None,
  ) -> pl.DataFrame:
    """Where the attention of a candidate goes (ranking/attribution.py).

    Args:
      candidate: id of an item.
      user: id of a user.
      request_time: as in `rank`.

    Returns:
      The rows of `history` that the model reads, with layer_0, layer_1, ...

    Raises:
      ValueError: a model without attention weights to show.
    """
    index_N = self._indices([candidate])
    record = self.record(user)
    time = self._query_time(record, request_time)
    request = asked_about(record, index_N, time, self.catalog.num_items)
    found = attribution(self.scorer.weights_fn, self.scorer.layout, request)
    layers = {f"layer_{i}": row for i, row in enumerate(found.weights_JE)}
    history = self.history(user)[found.events_E]
    return history.with_columns(pl.Series(n, row) for n, row in layers.items())

  def history(self, user: object) -> pl.DataFrame:
    """A user's events, oldest first: event (-1 = the last), item_id, title,
    action ('' = not known) and, where the data set has times, time (UTC; null
    = not known)."""
    record = self.record(user)
    count = len(record["item"])
    fields = [n for n in ("action", "value") if n in record]
    columns = {
      "event": np.arange(-count, 0),
      **self._named(record["item"]),
      "action": [
        self.actions.text({name: record[name][i].item() for name in fields})
        for i in range(count)
      ],
    }
    times = self.histories.times(record)
    if times is not None:
      columns["time"] = times
    return pl.DataFrame(columns)

  @functools.cached_property
  def actions(self) -> Actions:
    """What can be said of past events."""
    vocabulary = self.histories.manifest.actions
    return Actions(vocabulary, self.scorer.layout.feedback)

  def value_of(self, weights: str | Mapping[str, int | float]) -> ValueFunction:
    """By these weights; the ranker's own where there are none."""
    return ValueFunction.of(self.tasks, weights) if weights else self.value

  def record(self, user: object = None) -> Record:
    """Returns the record of a user; without events for None."""
    if user is not None:
      return self.histories[self.users.index_of(user)]
    nothing = {
      name: np.zeros(0, dtype)
      for name, dtype in self.histories.manifest.fields.items()
    }
    return {"user": np.array(-1, np.int32), **nothing}

  def _indices(self, candidates: Iterable[object]) -> Int[np.ndarray, "N"]:
    if isinstance(candidates, str):
      raise ValueError(f"candidates={candidates!r} must be a list of item ids.")
    index_N = [self.catalog.index_of(i) for i in candidates]
    for item, count in Counter(index_N).items():
      if count > 1:
        raise ValueError(
          f"candidates name {self.catalog.ids[item]!r} {count} times: a list"
          " shows an item once."
        )
    return np.array(index_N, np.int32)

  def _named(self, index_N: Int[np.ndarray, "N"]) -> dict[str, Any]:
    return {
      "item_id": [self.catalog.ids[i] for i in index_N],
      "title": [self.catalog.titles[i] for i in index_N],
    }

  def _score(
    self, record: Record, index_N: Int[np.ndarray, "N"], time: int
  ) -> Float[np.ndarray, "N T"]:
    request = asked_about(record, index_N, time, self.catalog.num_items)
    return self.scorer.score(request)

  def _groups(self, name: str, index_N: Int[np.ndarray, "N"]) -> list[Any]:
    """An attribute of items, as text; None where it is not known."""
    table = self.catalog.attributes.drop("index", strict=False)
    if name not in table.columns:
      raise ValueError(
        f"items have no attribute {name!r}.{choices_hint(name, table.columns)}"
      )
    found = table[name][index_N - 1].to_list()
    return [None if x in (None, "") else str(x) for x in found]

  @functools.cached_property
  def _last_moment(self) -> int:
    """Seconds at which the data set ends; reads all histories."""
    ends = (
      self.histories[user]["time"][-1:]
      for user in tqdm(
        range(len(self.histories)), desc="last event", delay=2, leave=False
      )
    )
    return int(max((int(end[0]) for end in ends if len(end)), default=0))

  def _query_time(self, record: Record, request_time: int | None) -> int:
    """Seconds since the epoch at which is asked."""
    manifest = self.histories.manifest
    if "time" not in record:
      if request_time is not None:
        raise ValueError(
          "this data set has no event times, so its model has no use for a"
          " request time."
        )
      return 0
    epoch = manifest.epoch_seconds or 0
    if request_time is None:
      some = len(record["time"]) > 0
      last = int(record["time"][-1]) if some else self._last_moment
      asked = last + (manifest.median_gap_seconds or 0)
    elif request_time < epoch:
      raise ValueError(
        f"request_time={request_time} lies before the data set's first event"
        f" ({epoch}): give unix seconds."
      )
    else:
      asked = request_time - epoch
      if len(record["time"]) and asked < record["time"][-1]:
        last = int(record["time"][-1])
        raise ValueError(
          f"request_time={request_time} lies {last - asked} s before the last"
          f" event of the history ({last + epoch}): ask at that time or later."
        )
    what = f"request_time={request_time} (unix seconds; default: a gap later)"
    return int(int32_seconds(np.array([asked], np.int64), what)[0])
