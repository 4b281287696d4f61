# SPDX-License-Identifier: Apache-2.0
"""Codes of variable length: the hard limit, the loss, and what lambda does."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.decoding.trie import Trie
from genrec_jax.layers.soft_quantizer import SoftQuantizer
from genrec_jax.models.variable_length import VariableLength
from genrec_jax.objectives.variable_length import VariableLengthBound
from genrec_jax.semantic_ids.quantizers import base
from genrec_jax.semantic_ids.quantizers.variable_codes import lengths
from genrec_jax.semantic_ids.uniqueness import DedupLevel
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step

_N, _D, _SIZES = 96, 8, (12, 13, 13)
_ITEMS = Items(_N, lambda ids: ids)


def _vectors():
  rng = np.random.default_rng(0)
  # Half of the items are one of three points: one code says them.
  few = rng.normal(size=(3, _D))[rng.integers(0, 3, _N)]
  many = rng.normal(size=(_N, _D))
  x = np.where(np.arange(_N)[:, None] % 2, few, many)
  return x.astype(np.float32)


def _batch():
  shape = (4, _N // 4)
  segments = np.broadcast_to(np.arange(1, shape[1] + 1, dtype=np.int32), shape)
  batch = {
    "item_BL": np.arange(1, _N + 1, dtype=np.int32).reshape(shape),
    "segment_ids_BL": segments,
    "vector_BLD": _vectors().reshape(*shape, _D),
  }
  return jax.tree.map(jnp.asarray, batch)


def _system(**options):
  return VariableLength(
    num_items=_N,
    vector_width=_D,
    widths=(16,),
    quantizer=SoftQuantizer(_SIZES, 6, anneal_steps=50, **options),
  )


@functools.cache
def _start():
  system = _system()
  params = init_params(system, _batch(), jax.random.key(0))
  return system.data_init(params, _vectors(), jax.random.key(1))


def test_without_temperature_it_is_the_hard_quantiser():
  system = _system(temperature=1e-6, first_temperature=1e-6)
  params = _start()
  out = system.apply({"params": params}, _batch(), deterministic=True)
  fitted = system.tokenizer(jax.device_get(params))
  x = (_vectors() - fitted.mean[None]) / fitted.scale
  # By hand: the nearest code of what is left, step by step.
  left = np.array(out.hidden).reshape(_N, -1)
  book, total, codes = fitted.codebooks[0], 0 * left, []
  for step in range(3):
    far = np.square(left[:, None] - book[None]).sum(axis=2)
    codes.append(far.argmin(axis=1))
    left, total = left - book[codes[-1]], total + book[codes[-1]]
    stopped = [np.full(_N, 12)] * (2 - step)
    whole = np.stack([*codes, *stopped], axis=1)
    back = fitted.decode(whole)
    error = np.square((back - fitted.mean[None]) / fitted.scale - x).mean(
      axis=1
    )
    found = np.array(out.aux["error_BLS"])[..., step].reshape(-1)
    np.testing.assert_allclose(found, error, rtol=1e-3, atol=1e-4)
  # Those of the tokenizer are these, up to the likeliest length.
  length = np.array(out.aux["length_BLS"]).reshape(_N, 3).argmax(axis=1) + 1
  expected = np.where(
    np.arange(3)[None] < length[:, None], np.stack(codes, axis=1), 12
  )
  np.testing.assert_array_equal(fitted.encode(_vectors()), expected)
  np.testing.assert_array_equal(lengths(expected, _SIZES), length)


def test_stop_probabilities_sum_to_1_and_information_is_a_divergence():
  out = _system().apply({"params": _start()}, _batch(), deterministic=True)
  total = np.array(out.aux["length_BLS"]).sum(axis=-1)
  np.testing.assert_allclose(total, 1, rtol=1e-5)
  information = np.array(out.aux["information_BLS"])
  assert information.min() > -1e-5 and information.max() <= np.log(12) + 1e-5


@pytest.mark.parametrize("age", [0.0, 30.0, 500.0])
def test_the_loss_equals_a_loop(age):
  rng = np.random.default_rng(0)
  p = rng.dirichlet(np.ones(3), (2, 2))
  error, information = rng.random((2, 2, 3)), 3 * rng.random((2, 2, 3))
  aux = {"length_BLS": p, "error_BLS": error, "information_BLS": information}
  aux = {name: jnp.asarray(x, jnp.float32) for name, x in aux.items()}
  batch = {"segment_ids_BL": jnp.array([[1, 2], [1, 0]])}
  objective = VariableLengthBound(
    length_weight=3.0, beta=0.5, warm_steps=60, free_nats=1.0, even=0.2
  )
  loss, _ = objective(
    Outputs(aux={**aux, "age": jnp.float32(age)}),
    batch,
    rng=jax.random.key(0),
    items=_ITEMS,
  )
  beta, values = 0.5 * min(1, age / 60), []
  for b, i in ((0, 0), (0, 1), (1, 0)):
    q = p[b, i]
    value = sum((0.8 * q[n] + 0.2 / 3) * error[b, i, n] for n in range(3))
    for step in range(3):
      value += beta * q[step:].sum() * max(1.0, information[b, i, step])
      value += beta * 3.0 * (step + 1) * q[step]
      value += beta * q[step] * np.log(q[step])
    values.append(value)
  np.testing.assert_allclose(loss, np.mean(values), rtol=1e-5)


_OPTIMIZER = adamw(1e-2)


def _trained(length_weight, steps=150):
  system = _system()
  objective = VariableLengthBound(
    length_weight=length_weight, beta=0.01, warm_steps=10
  )
  step = jax.jit(
    make_train_step(system, objective, _OPTIMIZER, jax.random.key(0))
  )
  state = init_state(_start(), _OPTIMIZER)
  for _ in range(steps):
    state, metrics = step(state, _batch())
  return system, state.params, jax.device_get(metrics)


@pytest.mark.slow
def test_a_higher_price_makes_shorter_codes_that_explain_less(tmp_path):
  found = []
  for price in (0.0, 3.0, 100.0):
    system, params, metrics = _trained(price)
    assert float(params["quantizer"]["age"]) == 150
    parts = {name: float(m.compute()) for name, m in metrics["parts"].items()}
    fitted = system.tokenizer(jax.device_get(params))
    codes = fitted.encode(_vectors())
    found.append(
      (parts["length"], lengths(codes, _SIZES).mean(), codes, fitted)
    )
  expected, hard = ([f[n] for f in found] for n in (0, 1))
  assert expected[0] > expected[1] + 0.1 > expected[2] + 0.2
  assert hard[0] >= hard[1] >= hard[2] == 1
  # The middle one is saved, and its codes decode to items of their own.
  _, _, codes, fitted = found[1]
  fitted.save(tmp_path)
  np.testing.assert_array_equal(base.load(tmp_path).encode(_vectors()), codes)
  costs = fitted.last_level_costs(_vectors())
  np.testing.assert_array_equal(costs.argmin(axis=1), codes[:, -1])
  stopped = codes == 12
  assert (stopped[:, 1:] >= stopped[:, :-1]).all() and not stopped[:, 0].any()


def test_with_a_last_number_no_item_is_the_start_of_another():
  rng = np.random.default_rng(0)
  codes = rng.integers(0, 3, (40, 3))
  length = rng.integers(1, 4, 40)
  codes = np.where(np.arange(3)[None] < length[:, None], codes, 12)
  unique = DedupLevel(40).apply(codes.astype(np.int32), _SIZES)
  # As the tokens that are no end marks: c_1 .. c_l, end, number.
  words = [
    (*row[:n], *(("end",) if n < 3 else ()), row[3])
    for row, n in zip(unique.tolist(), length, strict=True)
  ]
  assert len(set(words)) == 40
  for a in words:
    assert not any(a != b and b[: len(a)] == a for b in words)
  # After an end mark the trie knows one way: it costs nothing over children.
  trie = Trie.build(np.concatenate([unique[:1] * 0, unique]), (*_SIZES, 40))
  for depth in (1, 2):
    for state in range(trie.num_states(depth)):
      first, end = np.array(trie.first_child[depth])[state : state + 2]
      if np.array(trie.code[depth - 1])[state] == 12:
        assert np.array(trie.code[depth])[first:end].tolist() == [12]


def test_sizes_of_levels_are_checked():
  with pytest.raises(ValueError, match="one code more than it, 9"):
    SoftQuantizer((8, 8), 4)
  for name, value, words in (
    ("temperature", 0.0, "above 0"),
    ("first_temperature", float("nan"), "above 0"),
    ("anneal_steps", -1, "at least 0, a whole number"),
  ):
    said = f"config.system.quantizer.{name}={value!r} must be {words}."
    with pytest.raises(ValueError, match=re.escape(said)):
      SoftQuantizer((8,), 4, **{name: value})
  with pytest.raises(ValueError, match="between 0 and 1"):
    VariableLengthBound(even=2.0)


def test_the_loss_is_of_lengths():
  for aux in ({"error_BL": 0}, None):
    with pytest.raises(ValueError, match=r"models\.VariableLength"):
      VariableLengthBound()(
        Outputs(aux=aux), _batch(), rng=jax.random.key(0), items=_ITEMS
      )
