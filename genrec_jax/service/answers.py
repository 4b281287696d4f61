# SPDX-License-Identifier: Apache-2.0
"""From what a model says to what is sent back: plain values for JSON.

    {"items": [{"id": "i3", "score": 1.5, "p": {"click": 0.2}}, ...],
     "model": "v1", "catalogue": "...", "degraded": false, "reason": null, ...}

No number of it is NaN or infinite.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from genrec_jax.ranking.slates import Diverse, diverse
from genrec_jax.service.asker import Asked
from genrec_jax.service.asks import Listed, RankAsk, Scores
from genrec_jax.service.engine import Done
from genrec_jax.service.live_items import LiveItems
from genrec_jax.service.metrics import Metrics
from genrec_jax.service.versions import Version

UNKNOWN, DEAD = "unknown", "dead"


def of_list(
  version: Version,
  body: Any,
  asked: Asked,
  items: LiveItems,
  done: Done | None,
) -> dict[str, Any]:
  """The answer to a wire.Recommend."""
  told = _about(version, body, asked, done)
  if done is None:
    return {**told, "items": [], "short": f"0 items: {asked.nothing_left}"}
  listed = done.answer
  policy = version.asker.policy(body.policy)
  order = np.arange(len(listed.ids_K))
  if policy is not None:
    order = _spread(policy, listed.scores_K, listed.ids_K, items, body.k)
  order = order[: body.k]
  return {
    **told,
    "items": [_item(version, listed, place) for place in order.tolist()],
    "short": _short(version, body.k, asked, len(order)),
  }


def of_rank(
  version: Version,
  body: Any,
  asked: Asked,
  items: LiveItems,
  done: Done | None,
) -> dict[str, Any]:
  """The answer to a wire.Rank: candidates as they were given."""
  told = _about(version, body, asked, done)
  indices = version.asker.indices(body.candidates)
  rows, place_of = {}, {}
  if done is not None:
    ask = asked.ask
    rows = {int(item): n for n, item in enumerate(ask.candidates_N)}
    place_of = _places(version, body, items, ask, done)
  found = []
  for item_id, index in zip(body.candidates, indices, strict=True):
    one: dict[str, Any] = {"id": item_id, "score": None, "place": None}
    if not index:
      one["status"] = UNKNOWN
    elif index not in rows:
      one["status"] = DEAD
    else:
      row = rows[index]
      one |= _scored(version, done.answer.scores, row)
      if done.answer.scores_if is not None:
        changed = _scored(version, done.answer.scores_if, row)
        one |= {f"{name}_if": value for name, value in changed.items()}
      one["place"] = place_of.get(row)
    found.append(one)
  return {**told, "items": found}


def count(metrics: Metrics, version: Version, done: Done) -> None:
  """Counts what a list is like; of scores there is nothing to count."""
  if isinstance(done.answer, Listed) and len(done.answer.ids_K):
    metrics.listed(
      float(done.answer.scores_K[0]),
      float(version.served.popularity_V1[done.answer.ids_K].mean()),
    )


def _about(
  version: Version, body: Any, asked: Asked, done: Done | None
) -> dict[str, Any]:
  """What every answer says of itself."""
  reason = asked.cold
  timings, reused = {"queue": 0.0, "model": 0.0}, {"hit": 0, "new": 0}
  if done is not None:
    if done.why is not None:
      reason = f"{done.why}:{done.step}"
    timings = {
      "queue": done.queue_seconds * 1000,
      "model": done.model_seconds * 1000,
    }
    reused = {"hit": done.answer.reused.hit, "new": done.answer.reused.new}
  return {
    "request_id": body.request_id,
    "user_id": body.user_id,
    "model": version.name,
    "catalogue": version.served.catalogue,
    "cache": reused,
    "timings_ms": timings,
    "degraded": reason is not None,
    "reason": reason,
    "what_if": body.what_if or None,
    "unknown_items": asked.unknown_items,
    "ready": None,
  }


def _item(version: Version, listed: Listed, place: int) -> dict[str, Any]:
  served, index = version.served, int(listed.ids_K[place])
  found: dict[str, Any] = {
    "id": served.catalog.ids[index],
    "score": float(listed.scores_K[place]),
  }
  if listed.probabilities_KT is not None:
    found["p"] = _by_task(version, listed.probabilities_KT[place])
  if served.codes is not None:
    found["codes"] = served.codes[index].tolist()
  return found


def _scored(version: Version, scores: Scores, row: int) -> dict[str, Any]:
  """Score and probabilities of a candidate; null where there are none."""
  value = float(scores.values_N[row])
  found: dict[str, Any] = {"score": value if np.isfinite(value) else None}
  if scores.probabilities_NT is not None:
    finite = found["score"] is not None
    row_T = scores.probabilities_NT[row]
    found["p"] = _by_task(version, row_T) if finite else None
  return found


def _by_task(version: Version, chances_T: np.ndarray) -> dict[str, float]:
  tasks = version.served.ranker.tasks
  return dict(zip(tasks, map(float, chances_T), strict=True))


def _places(
  version: Version, body: Any, items: LiveItems, ask: RankAsk, done: Done
) -> dict[int, int]:
  """Candidate -> its place of the list that the policy makes, from 1."""
  values_N = done.answer.scores.values_N
  there = np.flatnonzero(np.isfinite(values_N))
  policy = version.asker.policy(body.policy)
  if policy is None:
    order = np.argsort(-values_N[there], kind="stable")
  else:
    mine = ask.candidates_N[there]
    order = _spread(policy, values_N[there], mine, items, len(there))
  return {int(there[n]): place for place, n in enumerate(order.tolist(), 1)}


def _spread(
  policy: Diverse,
  values_N: np.ndarray,
  index_N: np.ndarray,
  items: LiveItems,
  k: int,
) -> np.ndarray:
  groups: Sequence[Any] = items.catalog.attribute_texts(
    policy.attribute, index_N
  )
  return diverse(values_N, groups, policy.limit, policy.within, k)


def _short(version: Version, k: int, asked: Asked, found: int) -> str | None:
  """Why a list has fewer than k items; None where it has not."""
  if found >= k:
    return None
  why = f"{found:,} of k={k:,} items: "
  most = version.served.shapes.lists[-1]
  if found >= most:
    return why + "no list of this model is longer"
  left, total = int(asked.ask.allowed.count()[0]), version.served.catalog
  why += f"{left:,} of the catalogue's {total.num_items:,} may be recommended"
  return why + (", and the search found no others" if found < left else "")
