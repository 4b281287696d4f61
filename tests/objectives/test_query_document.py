# SPDX-License-Identifier: Apache-2.0
"""The contrast of queries with documents against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Mean, Outputs
from genrec_jax.objectives import MemoryFigures, QueryDocumentContrast

_TASKS = ("click", "like")
_ITEMS, _KEY = Items(9, lambda ids: ids), jax.random.key(0)


def _case(seed, labels=None):
  """Two rows of six shown documents; few queries, so that many are the same."""
  rng = np.random.default_rng(seed)
  shape = (2, 6)
  batch = {
    "segment_ids_BL": (np.arange(6) < np.array([[6], [5]])).astype(np.int32),
    "query_BL": rng.integers(1, 4, shape),
    "item_BL": rng.integers(1, 5, shape),
    "label_BL": rng.integers(0, 4, shape) if labels is None else labels,
    "labelled_BL": rng.integers(0, 5, shape) > 0,
  }
  batch = {k: np.asarray(v, np.int32) for k, v in batch.items()}
  outputs = {
    "query": rng.normal(size=(*shape, 3)).astype(np.float32),
    "item": rng.normal(size=(*shape, 3)).astype(np.float32),
    "asked": rng.random(shape) < 0.9,
    "known": rng.random(shape) < 0.9,
  }
  return batch, outputs


def _outputs(given):
  aux = {"asked_BL": given["asked"], "known_BL": given["known"]}
  return Outputs(query=given["query"], item=given["item"], aux=aux)


def _loss(objective, batch, given, **options):
  batch = jax.tree.map(jnp.asarray, batch)
  given = jax.tree.map(jnp.asarray, given)
  return objective(_outputs(given), batch, rng=_KEY, items=_ITEMS, **options)


def _loop(batch, given, bit, scale, mask_query=True, mask_item=False):
  """(position, loss) of every answer, in float64."""
  real = batch["segment_ids_BL"].reshape(-1) > 0
  query, item = (batch[f"{n}_BL"].reshape(-1) for n in ("query", "item"))
  q, d = (given[n].reshape(-1, 3).astype(np.float64) for n in ("query", "item"))
  known, asked = (given[n].reshape(-1) for n in ("known", "asked"))
  done = batch["label_BL"].reshape(-1) >> bit & 1
  done &= batch["labelled_BL"].reshape(-1)
  found = []
  for i in range(len(real)):
    if not (real[i] and done[i] and known[i] and asked[i]):
      continue
    total = own = 0.0
    for j in range(len(real)):
      score = q[i] @ d[j] / np.linalg.norm(q[i]) / np.linalg.norm(d[j])
      if i == j:
        own = score * scale
      elif not (real[j] and known[j]):
        continue
      elif mask_query and query[i] == query[j]:
        continue
      elif mask_item and item[i] == item[j]:
        continue
      total += np.exp(score * scale)
    found.append((i, np.log(total) - own))
  return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
  "masks",
  [{}, {"mask_query": False}, {"mask_item": True}],
  ids=["published", "no mask", "items too"],
)
def test_the_loss_is_that_of_a_loop(seed, masks):
  batch, given = _case(seed)
  for bit, task in enumerate(_TASKS):
    objective = QueryDocumentContrast(_TASKS, (task,), scale=5.0, **masks)
    loss, parts = _loss(objective, batch, given)
    wanted = _loop(batch, given, bit, 5.0, **masks)
    assert int(parts["contrast"].count) == len(wanted) > 1
    np.testing.assert_allclose(
      loss, np.mean([x for _, x in wanted]), rtol=1e-4, atol=1e-6
    )


def test_all_answers_and_none():
  objective = QueryDocumentContrast(_TASKS, ("click",), scale=50.0)
  batch, given = _case(0, labels=np.ones((2, 6)))
  wanted = _loop(batch, given, 0, 50.0)
  loss, _ = _loss(objective, batch, given)
  np.testing.assert_allclose(loss, np.mean([x for _, x in wanted]), rtol=1e-4)
  batch, given = _case(0, labels=np.full((2, 6), 2))
  loss, parts = _loss(objective, batch, given)
  assert loss == 0 and parts["contrast"].count == 0


def test_another_document_of_the_query_changes_no_term_one_of_another_does():
  objective = QueryDocumentContrast(_TASKS, ("click",), scale=5.0)
  batch, given = _case(1)
  place = (0, 2)
  given["known"][:] = given["asked"][:] = True
  batch["query_BL"][:] = 3
  batch["query_BL"][1] = 2
  batch["label_BL"][:] = [[1, 0, 0, 0, 0, 0], [0] * 6]
  batch["labelled_BL"][:] = 1

  def loss(query, there):
    batch["query_BL"][place] = query
    given["known"][place] = there
    return float(_loss(objective, batch, given)[0])

  assert loss(3, True) == loss(3, False)
  assert loss(2, True) > loss(2, False)


def test_a_large_scale_in_half_precision_is_finite_with_its_gradient():
  objective = QueryDocumentContrast(_TASKS, ("click",), scale=1000.0)
  batch, given = _case(2)
  # Padding may be anything.
  given["query"][1, 5] = given["item"][1, 5] = np.nan

  def loss(pair):
    half = {**given, "query": pair[0], "item": pair[1]}
    return _loss(objective, batch, half)[0]

  pair = [jnp.asarray(given[n], jnp.bfloat16) for n in ("query", "item")]
  value, gradient = jax.value_and_grad(loss)(pair)
  assert value.dtype == jnp.float32 and np.isfinite(value)
  for one in gradient:
    assert np.isfinite(np.asarray(one, np.float32)).all()
    assert not np.asarray(one, np.float32)[1, 5].any()


def test_weights_and_where_are_of_the_answers():
  objective = QueryDocumentContrast(_TASKS, ("click",), scale=5.0)
  batch, given = _case(0)
  weights = np.random.default_rng(9).random((2, 6)).astype(np.float32)
  loss, _ = _loss(objective, batch, given, weights=jnp.asarray(weights))
  wanted = _loop(batch, given, 0, 5.0)
  flat = weights.reshape(-1)
  mean = sum(flat[i] * x for i, x in wanted) / sum(flat[i] for i, _ in wanted)
  np.testing.assert_allclose(loss, mean, rtol=1e-4)
  where = np.arange(6) < 4
  where = jnp.asarray(np.tile(where, (2, 1)))
  loss, _ = _loss(objective, batch, given, where=where)
  batch["segment_ids_BL"][:, 4:] = 0
  wanted = _loop(batch, given, 0, 5.0)
  np.testing.assert_allclose(loss, np.mean([x for _, x in wanted]), rtol=1e-4)


def test_what_cannot_be_compared_is_refused():
  batch, given = _case(0)
  objective = QueryDocumentContrast(_TASKS, ("click",))
  with pytest.raises(ValueError, match="such as models.ContentRanker"):
    objective(Outputs(query=given["query"]), batch, rng=_KEY, items=_ITEMS)
  with pytest.raises(ValueError, match="name at least one task"):
    QueryDocumentContrast(_TASKS, ("share",))
  with pytest.raises(ValueError, match="scale=0.0 must be above 0"):
    QueryDocumentContrast(_TASKS, ("click",), scale=0.0)


def test_figures_of_a_memory_cost_nothing():
  figures = {"coverage": Mean(jnp.float32(3), jnp.float32(4))}
  objective = MemoryFigures()
  call = {"rng": _KEY, "items": _ITEMS}
  loss, parts = objective(Outputs(aux={"memory": figures}), {}, **call)
  assert loss == 0 and float(parts["coverage"].compute()) == 0.75
  with pytest.raises(ValueError, match="this model has none"):
    objective(Outputs(aux={"memory": {}}), {}, **call)
