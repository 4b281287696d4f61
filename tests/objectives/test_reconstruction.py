# SPDX-License-Identifier: Apache-2.0
"""Reconstruction and its partners: weights, masks, what is no negative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives.contrastive import InBatchContrastive
from genrec_jax.objectives.reconstruction import Reconstruction

_ITEMS = Items(5, lambda ids: None)


def _loss(objective, outputs, batch, **kwargs):
  return objective(
    outputs, batch, rng=jax.random.key(0), items=_ITEMS, **kwargs
  )


def _case():
  rng = np.random.default_rng(0)
  x, back, z, partner = (jnp.asarray(rng.normal(size=(2, 3, 4)), "f4"),) * 4
  back = back + jnp.array([1.0, 2, 3])[None, :, None]
  outputs = Outputs(
    hidden=z,
    query=z,
    item=partner,
    aux={
      "input_BLD": x,
      "reconstruction_BLD": back,
      "codebook_BL": jnp.full((2, 3), 5.0),
      "commitment_BL": jnp.full((2, 3), 7.0),
      "partner_hidden_BLD": partner,
    },
  )
  batch = {
    "segment_ids_BL": jnp.array([[1, 2, 0], [1, 0, 0]]),
    "item_BL": jnp.array([[1, 2, 0], [3, 0, 0]]),
    "partner_BL": jnp.array([[4, 5, 0], [0, 0, 0]]),
  }
  return outputs, batch


def test_the_loss_is_the_weighted_sum_over_real_items():
  outputs, batch = _case()
  loss, parts = _loss(Reconstruction(0.5, 0.1), outputs, batch)
  assert float(parts["reconstruction"].compute()) == pytest.approx(2.0)
  assert float(parts["reconstruction"].count) == 3
  assert float(loss) == pytest.approx(2.0 + 0.5 * 5 + 0.1 * 7)


def test_where_and_weights_choose():
  outputs, batch = _case()
  where = jnp.array([[False, True, True], [False, False, False]])
  loss, _ = _loss(Reconstruction(0.0, 0.0), outputs, batch, where=where)
  assert float(loss) == pytest.approx(4.0)
  weights = jnp.array([[3.0, 0, 1], [1, 1, 1]])
  loss, _ = _loss(Reconstruction(0.0, 0.0), outputs, batch, weights=weights)
  assert float(loss) == pytest.approx(1.0)


@pytest.mark.slow
def test_an_empty_batch_has_loss_zero_and_finite_gradients():
  outputs, batch = _case()
  batch = {**batch, "segment_ids_BL": jnp.zeros((2, 3), jnp.int32)}

  def loss(z):
    out = Outputs(**{**vars(outputs), "query": z})
    return _loss(Reconstruction(contrastive=InBatchContrastive()), out, batch)[
      0
    ]

  value, grad = jax.value_and_grad(loss)(outputs.query)
  assert float(value) == 0 and np.isfinite(grad).all()


def test_partners_are_wanted():
  outputs, batch = _case()
  outputs = Outputs(**{**vars(outputs), "item": None})
  with pytest.raises(ValueError, match="layout.partners=True"):
    _loss(Reconstruction(contrastive=InBatchContrastive()), outputs, batch)


def test_the_contrastive_term_is_added_with_its_weight():
  outputs, batch = _case()
  parts = [
    _loss(
      Reconstruction(0.0, 0.0, InBatchContrastive(weight=w)), outputs, batch
    )
    for w in (0.0, 2.0)
  ]
  more = float(parts[1][0] - parts[0][0])
  assert more == pytest.approx(2 * float(parts[1][1]["contrastive"].compute()))
  assert float(parts[1][1]["contrastive"].count) == 2


def _reference(anchor, partner, items, partners, where, temperature):
  anchor = anchor / np.linalg.norm(anchor, axis=1, keepdims=True)
  partner = partner / np.linalg.norm(partner, axis=1, keepdims=True)
  losses = []
  for t in range(len(items)):
    if not where[t] or not partners[t]:
      continue
    scores = [anchor[t] @ partner[t] / temperature]
    for s in range(len(items)):
      good = s != t and where[s] and partners[s]
      if good and partners[s] not in (items[t], partners[t]):
        scores.append(anchor[t] @ partner[s] / temperature)
    losses.append(np.log(np.exp(scores).sum()) - scores[0])
  return np.mean(losses)


def test_info_nce_equals_a_loop():
  rng = np.random.default_rng(3)
  anchor, partner = rng.normal(size=(2, 12, 4)).astype(np.float32)
  items, partners = rng.integers(1, 5, 12), rng.integers(0, 5, 12)
  where = rng.random(12) < 0.8
  found = InBatchContrastive(temperature=0.3)(
    *(jnp.asarray(x) for x in (anchor, partner, items, partners, where))
  )
  expected = _reference(anchor, partner, items, partners, where, 0.3)
  assert float(found.compute()) == pytest.approx(expected, rel=1e-5)
