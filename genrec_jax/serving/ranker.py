# SPDX-License-Identifier: Apache-2.0
"""A trained ranker in use: a user and items in, probabilities of actions out.

    import genrec_jax
    ranker = genrec_jax.load_ranker("WORKDIR")
    ranker.rank(["50", "181"], user="42", weights="click=1,like=10")
    ranker.rank(items, user="42", policy="diverse:attribute=category", k=10)
    ranker.what_if(["50", "181"], user="42", changes="-1=skip")
    ranker.attribution("50", user="42")
    ranker.rank(["50", "181"], history=["7", "12"])

Answers are Polars tables, best first. Serving knows all events of a user, so
the whole record is the history here, those that an evaluation asks about
included. A history that is given takes its place: with a user, whose features
count, or of somebody of whom nothing else is known (given_history.py).
"""

from collections import Counter
from collections.abc import Sequence
import functools
from typing import Any
import warnings

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import short
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.schema import Record
from genrec_jax.data.times import int32_seconds
from genrec_jax.experiment import trained_ranker
from genrec_jax.ranking.actions import Actions
from genrec_jax.ranking.attribution import attribution
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.ranking.edits import appended
from genrec_jax.ranking.slates import Choices, Policy, policy_of
from genrec_jax.ranking.utility import ValueFunction
from genrec_jax.ranking.what_if import Change, changed, changes_of
from genrec_jax.serving import arguments
from genrec_jax.serving.asking import Asking


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

  @property
  def takes_values(self) -> bool:
    """Whether what comes of an event is a number and no action."""
    return self.scorer.layout.feedback.min_value is not None

  def rank(
    self,
    candidates: Any,
    user: object = None,
    *,
    history: object = None,
    weights: Any = "",
    policy: Any = "greedy",
    k: Any = None,
    request_time: Any = None,
    strict: Any = False,
  ) -> pl.DataFrame:
    """Returns item_id, title, value and a probability per task, best first.

    Args:
      candidates: ids of items.
      user: id of a user; None = nobody known. Of one who is not in the data
        nothing is known either, with a warning.
      history: in place of the user's events: ids of items, oldest first, or a
        table with item_id and, where known, action, value and time, as
        `history` returns it. Unknown items are skipped, with a warning.
      weights: of the value, such as "click=1,like=10" or a mapping of tasks
        (ranking/utility.py); empty = config.value.
      policy: how the list is made, as text or an object (ranking/slates.py);
        its value and probabilities are those that an item was placed by.
      k: places of the list; None = all candidates. Of more than there are it
        is warned.
      request_time: unix seconds at which is asked; default: the time of the
        last event of the history (of anybody's, where that has no times) and
        the data set's median gap between events.
      strict: an unknown user or item of the history is an error.

    Raises:
      ValueError: an unknown id (names close ones), task, policy or attribute,
        no candidates or one twice, or a request before the user's last event.
    """
    value = self.value_of(weights)
    policy = _policy(policy)
    index_N = self._indices(candidates)
    k = len(index_N) if k is None else arguments.whole("k", k, least=1)
    if k > len(index_N) > 0:
      warnings.warn(
        f"{len(index_N):,} of k={k:,} items: there are no more candidates.",
        stacklevel=2,
      )
    record, time = self._asked(user, history, request_time, strict)

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
      groups=lambda name: self.catalog.attribute_texts(name, index_N),
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
    candidates: Any,
    user: object,
    changes: str | Sequence[Change],
    *,
    history: object = None,
    weights: Any = "",
    request_time: Any = None,
    strict: Any = False,
  ) -> pl.DataFrame:
    """Scores behind the history and behind a changed one, best first.

    Args:
      candidates: ids of items.
      user: id of a user.
      changes: of the history, such as "-1=skip" (ranking/what_if.py).
      history, weights, request_time, strict: as in `rank`.

    Returns:
      item_id, title, value, value_if, and TASK and TASK_if of every task, in
      the order of `value`.
    """
    value = self.value_of(weights)
    if isinstance(changes, str):
      changes = changes_of(changes)
    index_N = self._indices(candidates)
    # Asked at one time, whatever the change.
    record, time = self._asked(user, history, request_time, strict)
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
    user: object = None,
    *,
    history: object = None,
    request_time: Any = None,
  ) -> pl.DataFrame:
    """Where the attention of a candidate goes (ranking/attribution.py).

    Args:
      candidate: id of an item.
      user: id of a user.
      history, request_time: as in `rank`.

    Returns:
      The rows of `history` that the model reads, with layer_0, layer_1, ...

    Raises:
      ValueError: a model without attention weights to show.
    """
    index_N = self._indices([candidate])
    record, time = self._asked(user, history, request_time)
    request = asked_about(record, index_N, time, self.catalog.num_items)
    found = attribution(self.scorer.weights_fn, self.scorer.layout, request)
    layers = {f"layer_{i}": row for i, row in enumerate(found.weights_JE)}
    events = self._events(record)[found.events_E]
    return events.with_columns(pl.Series(n, row) for n, row in layers.items())

  def history(
    self, user: object = None, history: object = None
  ) -> pl.DataFrame:
    """Events, oldest first: event (-1 = the last), item_id, title, action
    ('' = not known) and, where the data set has them, time (UTC; null = not
    known), value and request. It may be given back as a history."""
    return self._events(self.record(user, history, strict=False))

  def _events(self, record: Record) -> pl.DataFrame:
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
    if "value" in record:
      columns["value"] = record["value"]
    if "request" in record:
      columns["request"] = record["request"]
    return pl.DataFrame(columns)

  @functools.cached_property
  def _asking(self) -> Asking:
    return Asking(
      self.histories,
      self.catalog,
      self.users,
      values_as_actions=self.takes_values,
      at_the_end=True,
    )

  @functools.cached_property
  def actions(self) -> Actions:
    """What can be said of past events."""
    vocabulary = self.histories.manifest.actions
    return Actions(vocabulary, self.scorer.layout.feedback)

  def value_of(self, weights: Any) -> ValueFunction:
    """By these weights; the ranker's own where there are none.

    Raises:
      ValueError: they are neither text nor a mapping of tasks.
    """
    return trained_ranker.value_of(self.value, weights)

  def record(
    self, user: object = None, history: object = None, *, strict: bool = True
  ) -> Record:
    """The record of a user, or of a history; without events for neither."""
    if user is None and history is None:
      history, strict = (), False
    return self._asking.record(user, history, strict=strict)

  def _indices(self, candidates: Any) -> Int[np.ndarray, "N"]:
    candidates = arguments.several("candidates", candidates, "item ids")
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

  def _asked(
    self,
    user: object,
    history: object,
    request_time: Any,
    strict: Any = False,
  ) -> tuple[Record, int]:
    """Whose request it is, and seconds since the epoch at which."""
    arguments.truth("strict", strict)
    if request_time is not None:
      request_time = arguments.whole("request_time", request_time)
    epoch = self.histories.manifest.epoch_seconds or 0
    if request_time is not None and request_time < epoch:
      raise ValueError(
        f"request_time={request_time} lies before the data set's first event"
        f" ({epoch}): give unix seconds."
      )
    if user is None and history is None:
      history, strict = (), False
    record = self._asking.record(
      user, history, strict=strict, request_time=request_time
    )
    requests = self._asking.requests([record], request_time)
    return record, int(requests.query_time[0])


def _policy(policy: Any) -> Policy:
  if isinstance(policy, str):
    return policy_of(policy)
  if not isinstance(policy, Policy):
    raise ValueError(
      f"policy={short(policy)} must be the name of one, such as 'greedy', or a"
      " policy"
    )
  return policy
