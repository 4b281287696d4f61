# SPDX-License-Identifier: Apache-2.0
"""Kernels that XLA cannot split: rows and heads stay where they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.sharding import MeshOptions, per_device
from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import silu_attention

_B, _L, _H, _K = 4, 16, 2, 8


def _case(per_head, slopes):
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
  heads = (_H,) if per_head else ()
  vectors = [draw(_B, _L, _H, _K) for _ in range(3)]
  tables = BiasTables(
    position=None if slopes else draw(*heads, 2 * _L - 1),
    time=None if slopes else draw(*heads, 129),
    slopes=slopes,
  )
  places = jnp.broadcast_to(jnp.arange(_L), (_B, _L))
  info = SequenceInfo(jnp.ones((_B, _L), int), places, 9 * places, 9 * places)
  return vectors, tables, info


@pytest.mark.slow
@pytest.mark.parametrize(
  ("per_head", "slopes"),
  [
    pytest.param(True, None, marks=pytest.mark.slow),
    (False, (0.5, 0.25)),
    pytest.param(False, None, marks=pytest.mark.slow),
  ],
)
def test_fused_attention_on_a_mesh_is_that_of_one_device(per_head, slopes):
  vectors, tables, info = _case(per_head, slopes)

  def loss(vectors, tables):
    out = silu_attention(
      *vectors,
      info,
      normalizer=float(_L),
      bias=tables,
      implementation="pallas_tpu_interpret",
    )
    return jnp.sum(jnp.sin(out)), out

  step = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  expected = jax.jit(step)(vectors, tables)
  placement = MeshOptions("tp", {"data": 4, "model": 2}).place()
  with jax.set_mesh(placement.mesh):
    split = jax.jit(step)
    got = split(jax.device_put(vectors, placement.by_rows), tables)
    compiled = split.lower(
      jax.device_put(vectors, placement.by_rows), tables
    ).compile()
    text = compiled.as_text()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5),
    got,
    expected,
  )
  assert slopes or "all-gather(" not in text


def test_what_devices_cannot_share_every_device_does():
  mesh = MeshOptions("dp").place().mesh
  with jax.set_mesh(mesh):
    x = jnp.arange(24.0).reshape(3, 4, 2)
    got = jax.jit(lambda x: per_device(jnp.cos, ["rows and heads"], x))(x)
  np.testing.assert_allclose(got, np.cos(x), rtol=1e-6)
