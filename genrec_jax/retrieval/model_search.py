# SPDX-License-Identifier: Apache-2.0
"""A trained model as a ranker: requests -> query vectors -> nearest items.

    search(requests, k, allowed) = index.search(query_fn(batch(requests)), k,
                                                allowed)

Every batch is filled up to one fixed size, so that the last, smaller one (or a
single user of a notebook) compiles nothing anew. The parts are plain
functions: this file knows neither the system nor the layout.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.core import finite
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask


@dataclasses.dataclass(frozen=True)
class ModelSearch:
  """`search` of a model; the instance itself is the function.

  Attributes:
    query_fn: batch of arrays -> query vectors (batch_size, D); jitted.
    request_batch: Requests -> batch of arrays with fixed shapes, on the host or
      already where query_fn wants them.
    index: a retriever with search(query_BD, k, allowed).
    batch_size: rows of every batch that query_fn sees.
  """

  query_fn: Callable[[Mapping[str, Any]], jax.Array]
  request_batch: Callable[[Requests], Mapping[str, Any]]
  index: Any
  batch_size: int

  def __call__(
    self,
    requests: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Returns ids (B, k) and scores (B, k) on the host.

    Raises:
      ValueError: queries or scores that are not finite.
    """
    count = len(requests)
    requests, allowed = padded(requests, allowed, self.batch_size)
    query = self.query_fn(self.request_batch(requests))
    ids, scores, aux = self.index.search(query.astype(jnp.float32), k, allowed)
    fine = finite.all_finite(query)
    ids, scores, fine = jax.device_get((ids, scores, fine))
    finite.check(fine, "the queries")
    finite.check_scores(scores)
    return ids[:count], scores[:count], aux


def padded(
  requests: Requests,
  allowed: ItemMask | None,
  batch_size: int,
) -> tuple[Requests, ItemMask | None]:
  """Fills requests up to a batch: the last one repeated, nothing allowed.

  Raises:
    ValueError: no requests, or more than a batch holds.
  """
  count = len(requests)
  if not 0 < count <= batch_size:
    raise ValueError(
      f"{count} requests do not fit a batch of {batch_size}; pass 1 to"
      f" {batch_size} at a time"
    )
  missing = batch_size - count
  if not missing:
    return requests, allowed
  if allowed is not None:
    allowed = allowed.padded(batch_size)
  arrays = {
    name: np.pad(getattr(requests, name), (0, missing), mode="edge")
    for name in ("user", "target", "query_time", "event")
  }
  history = list(requests.history) + [requests.history[-1]] * missing
  key = requests.key and (*requests.key, *[None] * missing)
  requests = dataclasses.replace(requests, history=history, key=key, **arrays)
  return requests, allowed
