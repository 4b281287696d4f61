# SPDX-License-Identifier: Apache-2.0
"""A sum of losses is one in value and gradient; each has labels of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Mean, Outputs
from genrec_jax.objectives.combine import WeightedSum
from genrec_jax.objectives.negatives import UniformShared
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.objectives.softmax import FullSoftmax, SampledSoftmax

_FIND = FullSoftmax(0.5, label="next_item_BL")
_RANK = BinaryCrossEntropy(("like", "buy"))
_KEY = jax.random.key(0)


def _inputs():
  rng = np.random.default_rng(0)
  table = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32)
  outputs = Outputs(
    query=jnp.asarray(rng.normal(size=(2, 5, 4)), jnp.float32),
    logits=jnp.asarray(rng.normal(size=(2, 5, 2)), jnp.float32),
  )
  batch = {
    "next_item_BL": jnp.asarray(rng.integers(0, 8, (2, 5)), jnp.int32),
    "label_BL": jnp.asarray(rng.integers(0, 4, (2, 5)), jnp.int32),
    "labelled_BL": jnp.asarray(rng.integers(0, 2, (2, 5)), jnp.int32),
  }
  items = Items(7, lambda ids: table if ids is None else table[ids])
  return outputs, batch, items


def test_loss_and_gradient_are_the_weighted_sums_of_the_parts():
  outputs, batch, items = _inputs()
  both = WeightedSum(
    {"find": _FIND, "rank": _RANK}, {"find": 2.0, "rank": 0.25}
  )

  def loss(objective):
    def of(outputs):
      return objective(outputs, batch, rng=_KEY, items=items)

    compute = jax.jit(jax.value_and_grad(of, has_aux=True))
    (value, parts), gradient = compute(outputs)
    return value, parts, gradient

  total, parts, gradient = loss(both)
  find, find_parts, find_gradient = loss(_FIND)
  rank, rank_parts, rank_gradient = loss(_RANK)
  assert float(find) > 0.1 and float(rank) > 0.1
  np.testing.assert_allclose(total, 2 * find + rank / 4, rtol=1e-6)
  jax.tree.map(
    lambda g, a, b: np.testing.assert_allclose(g, 2 * a + b / 4, atol=1e-7),
    gradient,
    find_gradient,
    rank_gradient,
  )
  assert set(parts) == {"find/softmax", "rank/like", "rank/buy"}
  expected = {"find/softmax": find_parts["softmax"]}
  expected |= {f"rank/{task}": mean for task, mean in rank_parts.items()}
  for name, mean in expected.items():
    np.testing.assert_allclose(parts[name].compute(), mean.compute())


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_a_softmax_reads_the_labels_it_is_told_to(kind):
  outputs, batch, items = _inputs()
  make = FullSoftmax
  if kind == "sampled":
    make = lambda **options: SampledSoftmax(UniformShared(3), **options)  # noqa: E731
  told = make(label="next_item_BL")
  renamed = {"label_BL": batch["next_item_BL"]}

  @jax.jit
  def losses():
    return [
      objective(outputs, labels, rng=_KEY, items=items)[0]
      for objective, labels in (
        (told, batch),
        (make(), renamed),
        (make(), batch),
      )
    ]

  found, expected, other = map(float, losses())
  assert found == pytest.approx(expected) and found != pytest.approx(other)


def test_every_objective_draws_from_a_stream_of_its_own_and_gets_the_masks():
  seen = []

  def fake(outputs, batch, *, rng, items, where, weights):
    seen.append((jax.random.key_data(rng).tolist(), where, weights))
    return jnp.float32(1), {"x": Mean(jnp.float32(1), jnp.float32(1))}

  objective = WeightedSum({"a": fake, "b": fake}, {"a": 1.0, "b": 3.0})
  where, weights = jnp.ones((1, 2), bool), jnp.ones((1, 2))
  outputs, _, items = _inputs()
  loss, parts = objective(
    outputs, {}, rng=_KEY, items=items, where=where, weights=weights
  )
  assert float(loss) == 4 and list(parts) == ["a/x", "b/x"]
  assert seen[0][0] != seen[1][0]
  assert all(s[1] is where and s[2] is weights for s in seen)


def test_weights_are_of_the_objectives():
  with pytest.raises(ValueError, match="weights are of a: give one each"):
    WeightedSum({"a": _FIND, "b": _RANK}, {"a": 1.0})
  with pytest.raises(ValueError, match="name at least one loss"):
    WeightedSum({}, {})


def test_labels_and_queries_that_are_not_there_are_named():
  outputs, batch, items = _inputs()
  lost = FullSoftmax(label="next_itm_BL")
  with pytest.raises(ValueError, match="no 'next_itm_BL'.*'next_item_BL'"):
    lost(outputs, batch, rng=_KEY, items=items)
  with pytest.raises(ValueError, match="the system gives no queries"):
    _FIND(Outputs(logits=outputs.logits), batch, rng=_KEY, items=items)
