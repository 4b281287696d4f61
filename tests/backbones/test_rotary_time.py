# SPDX-License-Identifier: Apache-2.0
"""Backbones whose queries and keys turn with time."""

import dataclasses
import functools
import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.transformer import PreNormTransformer
from genrec_jax.core.build import build
from genrec_jax.core.types import UNKNOWN_TIME, SequenceInfo
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.layers.rotary_time import RotaryTime
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_ROTARY = RotaryTime((86_400,), geometric=3)


def _hstu(**fields):
  return HSTU(
    num_layers=2,
    num_heads=2,
    key_width=8,
    value_width=4,
    num_positions=16,
    attention=SiluAttention(4.0),
    **fields,
  )


_BACKBONES = {
  "hstu": _hstu(rotary=_ROTARY),
  "alone": _hstu(rotary=_ROTARY, position_bias=False, time_bias=False),
  "scanned": _hstu(rotary=_ROTARY, scan=True, remat=True),
  "transformer": PreNormTransformer(2, 2, 16, rotary=_ROTARY),
}


def _info(first=1_800_000_000, length=12):
  """One row of two segments and padding."""
  rng = np.random.default_rng(0)
  segments = np.repeat([1, 2, 0], [6, 4, 2])[None]
  positions = np.concatenate([np.arange(6), np.arange(4), [0, 0]])[None]
  times = first + np.cumsum(rng.integers(1, 10**6, (1, length)), axis=1)
  arrays = segments, positions, times, times + rng.integers(1, 10**5)
  return SequenceInfo(*(jnp.asarray(x, jnp.int32) for x in arrays))


_X = np.random.default_rng(1).normal(size=(1, 12, 16)).astype(np.float32)


@functools.cache
def _params(name):
  """Far from their small initial values."""
  init = functools.partial(_BACKBONES[name].init, deterministic=True)
  shapes = jax.eval_shape(init, jax.random.key(0), _X, _info())
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda s: jnp.asarray(0.4 * rng.normal(size=s.shape), s.dtype), shapes
  )


@functools.cache
def _apply(name):
  return jax.jit(functools.partial(_BACKBONES[name].apply, deterministic=True))


def _hidden(name, info):
  return np.asarray(_apply(name)(_params(name), _X, info))


def _untimed(info):
  """The same, but that the third event has no time."""
  key, query = (
    x.at[0, 2].set(UNKNOWN_TIME)
    for x in (info.key_times_BL, info.query_times_BL)
  )
  return dataclasses.replace(info, key_times_BL=key, query_times_BL=query)


@pytest.mark.parametrize("name", _BACKBONES)
def test_times_count_by_their_differences(name):
  info = _info()
  assert _BACKBONES[name].uses_time
  expected = _hidden(name, info)
  for first in (0, -1_800_000_000, 1_234_567_890):
    np.testing.assert_allclose(
      _hidden(name, _info(first)), expected, rtol=1e-5, atol=1e-5
    )
  # Of what is asked six hours later only rotary time, in "alone", is told.
  later = dataclasses.replace(info, query_times_BL=info.query_times_BL + 21_600)
  assert np.abs(_hidden(name, later) - expected).max() > 1e-2


def test_an_event_without_a_time_is_the_same_whatever_others_are():
  """Its pairs that turn are out: shifting all known times moves nothing."""
  found = [
    _hidden("alone", _untimed(_info(first)))
    for first in (1_800_000_000, 1_700_000_003)
  ]
  np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)

  def loss(params, x):
    info = _untimed(_info())
    return jnp.sum(_apply("alone")(params, x, info) ** 2)

  gradients = jax.tree.leaves(jax.grad(loss, (0, 1))(_params("alone"), _X))
  assert all(np.isfinite(x).all() and np.any(x) for x in gradients)


def test_rotary_time_has_no_parameters():
  shapes = [
    jax.eval_shape(
      functools.partial(backbone.init, deterministic=True),
      jax.random.key(0),
      _X,
      _info(),
    )
    for backbone in (_BACKBONES["hstu"], _hstu())
  ]
  assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])


def test_a_config_asks_for_it():
  node = {"name": "layers.RotaryTime", "periods": [86_400], "geometric": 3}
  assert build(node) == _ROTARY
  assert _ROTARY.all_periods[0] == 86_400 and len(_ROTARY.all_periods) == 4
  with pytest.raises(ValueError, match="a period of 0 s"):
    build(node | {"periods": [0]})
  with pytest.raises(ValueError, match="a period of 0 s"):
    build(node | {"shortest": 0})
  with pytest.raises(ValueError, match="turns nothing"):
    build(node | {"periods": [], "geometric": 0})
  wide = _hstu(rotary=RotaryTime(geometric=6))
  init = functools.partial(wide.init, deterministic=True)
  with pytest.raises(ValueError, match="turns 9 pairs"):
    jax.eval_shape(init, jax.random.key(0), _X, _info())


_PROGRAM = """
import json, sys
from genrec_jax.tpu.topology import open_slice
slice_ = open_slice(sys.argv[1])
import jax, jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from genrec_jax.backbones.hstu import HSTU
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.layers.rotary_time import RotaryTime

length, width = 256, 64
mesh = Mesh(slice_.devices[:1], ("data",), axis_types=(AxisType.Auto,))
backbone = HSTU(
  num_layers=2, num_heads=2, key_width=width, value_width=width,
  num_positions=length, scan=True, remat=True, dtype="bfloat16",
  rotary=RotaryTime(geometric=12),
  attention=SiluAttention(float(length), implementation="pallas_tpu"))

def shape(dims, dtype):
  sharding = NamedSharding(mesh, PartitionSpec())
  return jax.ShapeDtypeStruct(dims, dtype, sharding=sharding)

x = shape((1, length, 2 * width), jnp.bfloat16)
info = SequenceInfo(*(shape((1, length), jnp.int32),) * 4)

def loss(params, x, info):
  h = backbone.apply(params, x, info, deterministic=True)
  return jnp.sum(h.astype(jnp.float32))

with jax.set_mesh(mesh):
  params = jax.eval_shape(
    lambda x, info: backbone.init(jax.random.key(0), x, info,
                                  deterministic=True), x, info)
  params = jax.tree.map(lambda p: shape(p.shape, p.dtype), params)
  lowered = jax.jit(jax.value_and_grad(loss)).trace(
    params, x, info).lower(lowering_platforms=("tpu",))
  text = lowered.compile().as_text()
print(json.dumps({
  "kernels": [n in text for n in (
    "silu_attention_forward", "silu_attention_backward")],
  "callback": "callback" in lowered.as_text() or "xla_ffi" in text,
  "cosines": lowered.as_text().count("stablehlo.cosine"),
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)
def test_it_compiles_for_a_tpu_in_front_of_the_kernels(tmp_path):
  """No callback, and angles once for all layers: of queries and of keys."""
  path = tmp_path / "program.py"
  path.write_text(_PROGRAM)
  done = commands.run([path, "v5e:2x2"], cwd=_ROOT)
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert found == {"kernels": [1, 1], "callback": False, "cosines": 2}
