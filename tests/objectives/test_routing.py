# SPDX-License-Identifier: Apache-2.0
"""The loss of mixtures: means by hand, parts, masks, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.layers.routers import Routed
from genrec_jax.objectives.routing import RoutingLoss
from genrec_jax.ops.routing import Choice


def _routed(where, load, losses, coefficient=None):
  count = len(where)
  return Routed(
    choice=Choice(jnp.zeros((count, 1), int), jnp.ones((count, 1))),
    where=jnp.asarray(where),
    load=jnp.asarray(load),
    losses={n: jnp.asarray(x) for n, x in losses.items()},
    entropy=jnp.arange(count, dtype=jnp.float32),
    active=jnp.full(count, 0.25),
    assign={},
    coefficient=coefficient,
  )


_TOP = _routed(
  [True, True, False],
  [2.0, 0.0, 0.0, 0.0],
  {"balance": [1.0, 3.0, jnp.nan], "z": [4.0, 6.0, 9.0]},
)
_RELU = _routed([True], [1.0, 1, 1, 1], {"penalty": [7.0]}, jnp.float32(0.5))


def _loss(*routed, **weights):
  outputs = Outputs(aux={"routed": routed} if routed else None)
  return RoutingLoss(**weights)(
    outputs, {}, rng=jax.random.key(0), items=Items(1, lambda ids: ids)
  )


def test_the_sum_over_mixtures_of_means_over_real_tokens():
  loss, parts = _loss(_TOP, _TOP, _RELU, balance_weight=0.1, z_weight=0.01)
  assert float(loss) == pytest.approx(2 * (0.1 * 2 + 0.01 * 5) + 7)
  means = {name: float(mean.compute()) for name, mean in parts.items()}
  assert means == pytest.approx(
    {
      "balance": 2,
      "z": 5,
      "penalty": 7,
      "load_peak": (4 + 4 + 1) / 3,
      "dead": (3 + 3 + 0) / 3,
      "entropy": (0.5 * 4 + 0) / 5,
      "active": 0.25,
      "price": 0.5,
    }
  )
  assert float(_loss(_TOP)[0]) == 0


def test_nothing_real_costs_nothing():
  nothing = _routed([False], [0.0, 0.0], {"balance": [jnp.inf], "z": [1.0]})
  loss, parts = _loss(nothing, balance_weight=1.0)
  assert float(loss) == 0
  assert all(float(mean.count) == 0 for mean in parts.values())
  assert np.isfinite([float(mean.compute()) for mean in parts.values()]).all()


def test_what_there_is_none_of():
  with pytest.raises(ValueError, match="this model has none"):
    _loss()
  with pytest.raises(ValueError, match="balance_weight=0.1.*there is penalty"):
    _loss(_RELU, balance_weight=0.1)
  with pytest.raises(ValueError, match="z_weight=-1"):
    RoutingLoss(z_weight=-1.0)
