# SPDX-License-Identifier: Apache-2.0
"""Samples of a few requests in words, for people to look at.

    [{"user": 7, "history": [titles], "next": title, "samples": [
      {"items": [titles], "reward": r, "log_p": nats}, ...]}, ...]

Samples stand in the order of their rewards, the best first; the same one drawn
again stands once. Users are named by their index: documents go further than the
data do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.data.dataset.requests import Requests

_EVENTS = 5


def examples_of(
  requests: Requests,
  found: Mapping[str, np.ndarray],
  titles: Sequence[str],
  *,
  requests_shown: int = 3,
  samples_shown: int = 5,
) -> list[dict[str, Any]]:
  """The first requests that have a sample.

  Args:
    requests: that were asked.
    found: of rollout/held_samples.py: watch.
    titles: by item index.
    requests_shown: at most.
    samples_shown: of each, at most.
  """
  examples = []
  for row in np.flatnonzero(found["where_GK"].any(axis=1)):
    items_KN, reward_K = found["item_GKN"][row], found["reward_GK"][row]
    log_p_K = -_there(found["nats_GKT"][row], items_KN).sum(axis=1)
    shown, samples = set(), []
    there_K = np.flatnonzero(found["where_GK"][row])
    for k in there_K[np.argsort(-reward_K[there_K], kind="stable")]:
      items = items_KN[k][items_KN[k] > 0].tolist()
      if tuple(items) in shown or len(samples) == samples_shown:
        continue
      shown.add(tuple(items))
      samples.append(
        {
          "items": [titles[item] for item in items],
          "reward": float(reward_K[k]),
          "log_p": float(log_p_K[k]),
        }
      )
    history = requests.history[row]["item"][-_EVENTS:].tolist()
    target = int(requests.target[row])
    examples.append(
      {
        "user": int(requests.user[row]),
        "history": [titles[item] for item in history],
        "next": titles[target] if target else "",
        "samples": samples,
      }
    )
    if len(examples) == requests_shown:
      break
  return examples


def nats_by_level(
  nats_GKT: Float[np.ndarray, "G K T"],
  item_GKN: Int[np.ndarray, "G K N"],
  where_GK: Bool[np.ndarray, "G K"],
) -> list[float]:
  """Mean -log p of the codes of each level, over items of samples."""
  there_GKN = (item_GKN > 0) & where_GK[..., None]
  nats_GKNM = nats_GKT.reshape(*item_GKN.shape, -1)
  return nats_GKNM[there_GKN].astype(np.float64).mean(axis=0).tolist()


def _there(nats_KT: np.ndarray, items_KN: np.ndarray) -> np.ndarray:
  """Nats of the codes of items; 0 behind the end of a list."""
  nats_KNM = nats_KT.reshape(*items_KN.shape, -1)
  return np.where(items_KN[..., None] > 0, nats_KNM, 0).reshape(nats_KT.shape)
