# SPDX-License-Identifier: Apache-2.0
"""Any number of candidates behind one history, in micro-batches (M-FALCON).

    history (1, M) tokens --start--> keys and values of all layers, once
    candidates (1, b) at a time --candidates--> logits, against these

A candidate sees the history and itself, so it does not matter which others are
scored with it: n^2 d of attention for the history, and n d a candidate
(arXiv 2402.17152, section 3.4). Shapes are fixed, so one program serves any
number of candidates. A system that keeps no history scores whole rows.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import finite, seams
from genrec_jax.core.loaded_model import LoadedModel
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.schema import Record


def asked_about(
  record: Record,
  candidates_N: Int[np.ndarray, "N"],
  query_time: int,
  num_items: int,
) -> Impressions:
  """One request of a whole record, checked; user -1 is nobody known.

  Args:
    record: history; an empty one is a user without any.
    candidates_N: item indices.
    query_time: seconds since the manifest's epoch at which is asked.
    num_items: candidates run from 1 to it.

  Raises:
    ValueError: no candidates, one that is no item, or a time before the
      history's end.
  """
  if not len(candidates_N):
    raise ValueError("there are no candidates: give at least one item.")
  wrong = candidates_N[(candidates_N < 1) | (candidates_N > num_items)]
  if len(wrong):
    raise ValueError(
      f"candidate {wrong[0]} is not in the catalogue: item indices run from 1"
      f" to {num_items}."
    )
  times = record.get("time", ())
  if len(times) and query_time < times[-1]:
    raise ValueError(
      f"query_time={query_time} lies {times[-1] - query_time} s before the last"
      f" event of the history ({times[-1]}): ask at that time or later, or give"
      " a history that ends before."
    )
  row = candidates_N[None].astype(np.int32)
  return Impressions(
    user=np.array([record["user"]], np.int32),
    history=[record],
    query_time=np.array([query_time], np.int32),
    candidates=row,
    labels=np.zeros_like(row),
    known=np.zeros(row.shape, bool),
    event=np.full_like(row, -1),
  )


def _shows_nothing(batch: Any) -> dict[str, Any]:
  del batch
  return {}


@dataclasses.dataclass(frozen=True)
class CandidateScorer:
  """A model behind `score`.

  Attributes:
    layout: makes batches of impressions (data/layouts/ranking.py,
      data/layouts/pointwise.py).
    score_fn: batch of whole rows -> logits (1, N, T).
    start_fn: batch of histories -> what is kept; None where nothing can be.
    candidates_fn: (kept, batch of candidates) -> logits (1, b, T).
    micro_batch: b, candidates at a time.
    weights_fn: batch of whole rows -> what modules show of the computation of
      `score`, such as attention weights.
    kept_fn: (batch of histories, whose it is) -> what is kept, in place of
      start_fn where something of it may be there already.
    loaded: the model, for whoever makes a kept_fn; None = there is none.
  """

  layout: Any
  score_fn: Callable[[Any], Any]
  start_fn: Callable[[Any], Any] | None
  candidates_fn: Callable[[Any, Any], Any] | None
  micro_batch: int
  weights_fn: Callable[[Any], Any] = _shows_nothing
  kept_fn: Callable[[Any, str | None], Any] | None = None
  loaded: LoadedModel | None = None

  def __post_init__(self):
    if self.micro_batch < 1:
      raise ValueError(f"micro_batch={self.micro_batch} must be at least 1.")

  @classmethod
  def of(
    cls, system: object, params: Any, layout: Any, micro_batch: int = 256
  ) -> "CandidateScorer":
    """Of a system with `score`, and its parameters on this process's devices.

    Raises:
      ValueError: a system that scores no candidates.
    """
    seams.require(system, seams.ScoreModel, "config.system")

    def ask_of(params):
      return functools.partial(system.apply, {"params": params})

    def method(name):
      applied = jax.jit(
        lambda params, *args: ask_of(params)(*args, method=name)
      )
      return lambda *args: applied(params, *args)

    @jax.jit
    def shown(params, batch):
      _, state = system.apply(
        {"params": params}, batch, method="score", mutable=["intermediates"]
      )
      return state

    caches = seams.offers(system, seams.CandidateModel)
    caches = caches and system.caches_history
    if caches:
      seams.require(layout, seams.ApartLayout, "config.pipeline.layout")
    return cls(
      layout=layout,
      score_fn=method("score"),
      start_fn=method("start") if caches else None,
      candidates_fn=method("candidates") if caches else None,
      micro_batch=micro_batch,
      weights_fn=lambda batch: shown(params, batch),
      loaded=LoadedModel(system, params, ask_of),
    )

  def score(
    self,
    request: Impressions,
    *,
    finite_only: bool = True,
    key: str | None = None,
  ) -> Float[np.ndarray, "N T"]:
    """Probabilities of the tasks, of the candidates of ONE request.

    Args:
      request: whose, behind what, of which items.
      finite_only: a logit that is no number is an error; else what comes of it
        is NaN.
      key: whose history it is, for a kept_fn; None = nobody's.

    Raises:
      NotFinite: see finite_only.
    """
    shown = request.candidates.shape[1]
    request = self.padded(request)
    parts = self._kept(request, key) if self.start_fn else self._whole(request)
    logits = [np.asarray(part, np.float32)[0] for part in parts]
    logits_NT = np.concatenate(logits)[:shown]
    if finite_only:
      finite.check_scores(np.abs(logits_NT))
    # By micro-batches: one shape, whatever the number of candidates.
    found = [np.asarray(jax.nn.sigmoid(jnp.asarray(x))) for x in logits]
    found_NT = np.concatenate(found)[:shown]
    return np.where(np.isfinite(logits_NT), found_NT, np.float32(np.nan))

  def padded(self, request: Impressions) -> Impressions:
    """The request with whole micro-batches.

    An item of padding is item 0: it sees nothing and is not asked for.
    """
    pad = ((0, 0), (0, -request.candidates.shape[1] % self.micro_batch))
    return dataclasses.replace(
      request,
      candidates=np.pad(request.candidates, pad),
      labels=np.pad(request.labels, pad),
      known=np.pad(request.known, pad),
      event=np.pad(request.event, pad, constant_values=-1),
    )

  def _kept(self, request: Impressions, key: str | None) -> list[Any]:
    """Logits of micro-batches behind a history that is computed once."""
    history, asked = self.layout.apart(self.layout.impression_batch(request))
    if self.kept_fn is None:
      kept = self.start_fn(history)
    else:
      kept = self.kept_fn(history, key)
    starts = range(0, request.candidates.shape[1], self.micro_batch)
    return [
      self.candidates_fn(
        kept, {k: v[:, s : s + self.micro_batch] for k, v in asked.items()}
      )
      for s in starts
    ]

  def _whole(self, request: Impressions) -> list[Any]:
    """Logits of micro-batches, the history computed with each of them."""
    names = ("candidates", "labels", "known", "event")
    parts = []
    for s in range(0, request.candidates.shape[1], self.micro_batch):
      mine = {
        n: getattr(request, n)[:, s : s + self.micro_batch] for n in names
      }
      some = dataclasses.replace(request, **mine)
      parts.append(self.score_fn(self.layout.impression_batch(some)))
    return parts
