# SPDX-License-Identifier: Apache-2.0
"""Where a candidate's attention goes: one number per layer and past event.

    a_l(e) = sum over heads h and tokens j of event e of w_lh(candidate, j)

w are the weights that values are multiplied with, those of the computation
itself: SiLU(q k + bias) / n in HSTU. They may be negative (SiLU falls to -0.28)
and do not sum to 1, and a large weight on a small value moves little: they
describe what is read and not what it causes (ranking/what_if.py asks that).
Layers above the first read tokens that have themselves read others.
"""

import dataclasses
import re
from typing import Any

import jax
from jaxtyping import Float, Int
import numpy as np

from genrec_jax.data.dataset.impressions import Impressions


class NoAttentionWeights(ValueError):
  """A model that shows none."""


@dataclasses.dataclass(frozen=True)
class Attribution:
  """Of one candidate.

  Attributes:
    events_E: the events that the model reads, by their place in the record.
    weights_JE: by layer and event, oldest first.
    own_J: on the candidate itself.
    context_J: on attributes of the user.
  """

  events_E: Int[np.ndarray, "E"]
  weights_JE: Float[np.ndarray, "J E"]
  own_J: Float[np.ndarray, "J"]
  context_J: Float[np.ndarray, "J"]


def attribution(
  weights_fn: Any, layout: Any, request: Impressions
) -> Attribution:
  """Of the one candidate of a request.

  Args:
    weights_fn: batch -> intermediates of `score`, attention weights by layer.
    layout: of data/layouts/ranking.py.
    request: of one user and one item.

  Raises:
    NoAttentionWeights: a model that has none.
    ValueError: another number of candidates.
  """
  if request.candidates.shape != (1, 1):
    raise ValueError(
      f"attribution is of one candidate, got {request.candidates.shape}."
    )
  layers = layer_weights(weights_fn(layout.impression_batch(request)))
  # The candidate's row: it stands behind all else.
  row_JM = np.stack([np.asarray(w)[0, :, -1].sum(axis=0) for w in layers])
  length = len(request.history[0]["item"])
  count = min(length, layout.max_events)
  tokens = layout.tokens_per_event
  start = row_JM.shape[1] - 1 - tokens * count
  events_JM = row_JM[:, start : start + tokens * count]
  return Attribution(
    events_E=np.arange(length - count, length),
    weights_JE=events_JM.reshape(len(layers), count, tokens).sum(axis=2),
    own_J=row_JM[:, -1],
    context_J=row_JM[:, :start].sum(axis=1),
  )


def layer_weights(intermediates: Any) -> list[Float[jax.Array, "B H Q M"]]:
  """The attention weights among intermediates, first layer first.

  Raises:
    NoAttentionWeights: there are none.
  """
  found = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(intermediates):
    name = jax.tree_util.keystr(path)
    if "attention_weights" in name:
      found[tuple(map(int, re.findall(r"layer_(\d+)", name)))] = leaf
  if not found:
    raise NoAttentionWeights(
      "this model shows no attention weights: it needs backbones.HSTU with"
      " layers.SiluAttention and scan=False."
    )
  return [found[key] for key in sorted(found)]
