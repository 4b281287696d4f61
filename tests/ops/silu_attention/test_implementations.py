# SPDX-License-Identifier: Apache-2.0
"""One suite for all implementations of pointwise attention."""

import dataclasses

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import BlockSizes, api, silu_attention
from genrec_jax.ops.silu_attention.chunked import chunked
from genrec_jax.ops.silu_attention.rows import Rows
from tests.ops.silu_attention.cases import (
  SMALL,
  Case,
  assert_close,
  make,
  run,
)

_KERNELS = ("chunked", "pallas_tpu_interpret")
_CASES = {
  "packed": Case(),
  "one_segment": Case(segments=False),
  "no_bias": Case(position=False, time=False),
  "position": Case(time=False, reach=20),
  "time": Case(position=False),
  "per_head": Case(per_head=True, heads=3, length=130),
  "wide_values": Case(width=16, value_width=40, heads=1),
  "one_event": Case(rows=1, length=1),
  "requests": Case(requests=True, rows=1, length=300),
  "holes": Case(
    *(1, 300),
    requests=True,
    holes=True,
    sizes=((2, 40, 9), (0, 100, 60), (1, 30, 1), (0, 20, 7)),
  ),
  # One request of 330 events, and targets of all times beside its last ones.
  "far_places": Case(
    *(1, 400),
    time=False,
    reach=350,
    requests=True,
    share=0.004,
    sizes=((0, 330, 60),),
  ),
}


@pytest.mark.parametrize(
  ("name", "implementation"),
  [(name, "chunked") for name in _CASES]
  + [
    (name, "pallas_tpu_interpret")
    for name in (
      *("packed", "one_segment", "no_bias", "position", "requests", "holes"),
    )
  ]
  + [
    pytest.param(name, "pallas_tpu_interpret", marks=pytest.mark.slow)
    for name in ("one_event", "far_places")
  ],
)
def test_equals_the_reference(name, implementation):
  inputs, g = make(_CASES[name])
  expected = run("reference", inputs, g)
  assert_close(run(implementation, inputs, g), expected)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", _KERNELS)
def test_a_window_and_full_positions(implementation):
  inputs, g = make(Case(seed=1))
  expected = run("reference", inputs, g, window=40, full=30)
  got = run(implementation, inputs, g, window=40, full=30)
  assert_close(got, expected)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", _KERNELS)
def test_roles_and_a_normalizer_per_row(implementation):
  case = Case(roles=True, seed=2)
  inputs, g = make(case)
  rng = np.random.default_rng(0)
  per_row = jnp.asarray(rng.uniform(1, 9, (case.rows, case.length)), "float32")
  options = {"normalizer": per_row, "window": 30, "scale": 0.4}
  expected = run("reference", inputs, g, **options)
  assert_close(run(implementation, inputs, g, **options), expected)


@pytest.mark.slow
@pytest.mark.parametrize("requests", [False, True])
@pytest.mark.parametrize("implementation", _KERNELS)
def test_alibi(implementation, requests):
  inputs, g = make(Case(position=False, heads=2, requests=requests))
  bias = dataclasses.replace(inputs[4], slopes=(0.5, 0.0625))
  inputs = (*inputs[:4], bias)
  expected = run("reference", inputs, g)
  assert_close(run(implementation, inputs, g), expected)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", _KERNELS)
def test_fewer_queries_than_keys_equal_those_of_all(implementation):
  (q, k, v, info, bias), _ = make(Case(seed=4))
  rng = np.random.default_rng(1)
  index = np.stack([rng.permutation(150)[:20] for _ in range(2)])
  index = index.astype(np.int32)
  index[1, -3:] = -1
  picked = jnp.take_along_axis(q, jnp.maximum(index, 0)[:, :, None, None], 1)

  def attend(q, **options):
    return silu_attention(q, k, v, info, normalizer=8.0, bias=bias, **options)

  whole = attend(q, implementation="reference")
  some = jax.jit(
    lambda q: attend(
      q, query_index_BQ=jnp.asarray(index), implementation=implementation
    )
  )(picked)
  for b, i in np.ndindex(index.shape):
    expected = whole[b, index[b, i]] if index[b, i] >= 0 else 0.0
    np.testing.assert_allclose(some[b, i], expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 64, 1000])
def test_any_chunk_equals_the_reference(size):
  (q, k, v, info, bias), g = make(Case(seed=6))
  rows = Rows.of(info, 8.0)

  def attend(q, k, v, bias):
    return chunked(q, k, v, rows, bias, 1.0, size)

  out, pull = jax.vjp(attend, q, k, v, bias)
  dq, dk, dv, dbias = pull(g)
  expected = run("reference", (q, k, v, info, bias), g)
  got = dict(out=out, dq=dq, dk=dk, dv=dv, dposition=dbias.position)
  assert_close(got | {"dtime": dbias.time}, expected)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", _KERNELS)
def test_bfloat16_loses_little_more_than_the_reference(implementation):
  """At most 2 times (output) and 5 times (gradients) its own loss."""
  low, g = make(Case(dtype="bfloat16", seed=7))
  exact_inputs = jax.tree.map(
    lambda x: x.astype("float32") if x.dtype == jnp.bfloat16 else x, low
  )
  exact = run("reference", exact_inputs, g.astype(jnp.float32))
  rounded = run("reference", low, g)
  got = run(implementation, low, g)
  for name, x in exact.items():
    factor = 2 if name == "out" else 5
    loss = np.abs(rounded[name] - x).max()
    assert np.abs(got[name] - x).max() <= factor * loss, name


@pytest.mark.parametrize("implementation", _KERNELS)
def test_the_same_call_gives_the_same_bits(implementation):
  inputs, g = make(Case())
  first, second = (run(implementation, inputs, g) for _ in range(2))
  for name, x in first.items():
    np.testing.assert_array_equal(x, second[name])


def test_unsorted_times_make_the_tables_gradient_nan_not_wrong():
  (q, k, v, info, bias), g = make(Case())
  times = np.asarray(info.key_times_BL).copy()
  times[0, :2] = times[0, 1::-1] + np.array([5, 0])
  info = dataclasses.replace(info, key_times_BL=jnp.asarray(times))
  inputs = (q, k, v, info, bias)
  got = run("pallas_tpu_interpret", inputs, g)
  assert np.all(np.isnan(got.pop("dtime")))
  expected = run("reference", inputs, g)
  assert_close(got, {name: expected[name] for name in got})


@pytest.mark.slow
@pytest.mark.parametrize("implementation", _KERNELS)
def test_the_largest_times_and_a_normalizer_of_0_where_nothing_is_seen(
  implementation,
):
  (q, k, v, info, bias), g = make(Case(seed=11))
  last = np.asarray(info.segment_ids_BL) > 0
  last[:, :-1] &= np.diff(np.asarray(info.segment_ids_BL), axis=1) != 0
  times = np.where(last, 2**31 - 1, np.asarray(info.query_times_BL))
  info = dataclasses.replace(info, query_times_BL=jnp.asarray(times))
  seen = np.asarray(info.segment_ids_BL) > 0
  normalizer = jnp.asarray(np.where(seen, 7.0, 0.0), "float32")
  inputs = (q, k, v, info, bias)
  got = run(implementation, inputs, g, normalizer=normalizer)
  expected = run("reference", inputs, g, normalizer=8.0)
  # The reference divides by 8 everywhere; what sees nothing is 0 there too.
  assert_close({n: x * 7 / 8 for n, x in got.items()}, expected)


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_no_gradient_flows_to_the_normalizer(implementation):
  """Also of a candidate, whose own key is a product of its own."""
  (q, k, v, info, bias), _ = make(
    Case(rows=1, length=6, roles=True, sizes=((0, 4, 2),))
  )

  def total(normalizer):
    out = silu_attention(
      *(q[:, :2], k, v, info),
      normalizer=normalizer,
      bias=bias,
      query_index_BQ=jnp.array([[2, 5]]),
      implementation=implementation,
    )
    return jnp.sum(out)

  assert jax.jit(jax.grad(total))(jnp.float32(3.0)) == 0


@pytest.mark.slow
def test_two_queries_at_one_key_are_nan_not_wrong():
  (q, k, v, info, bias), _ = make(Case())
  out = jax.jit(
    lambda q: silu_attention(
      q,
      k,
      v,
      info,
      normalizer=jnp.float32(8.0),
      bias=bias,
      query_index_BQ=jnp.array([[5, 5, 7], [1, 2, -1]]),
      implementation="pallas_tpu_interpret",
    )
  )(q[:, :3])
  out = np.asarray(out)
  assert np.all(np.isnan(out[0, :2]))
  assert np.all(np.isfinite(out[0, 2])) and np.all(np.isfinite(out[1]))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"implementation": "palas_tpu"}, "Did you mean 'pallas_tpu'"),
    ({"implementation": "pallas_tpu"}, "needs a TPU, and this is cpu"),
    ({"window": -1}, "a window is 0"),
    ({"full": 3}, "full needs a window"),
    ({"normalizer": 0.0}, "normalizer=0.0 must be positive"),
  ],
)
def test_bad_options_are_errors(options, message):
  (q, k, v, info, bias), _ = make(Case(rows=1, length=4))
  with pytest.raises(ValueError, match=message):
    silu_attention(
      q, k, v, info, **({"normalizer": 1.0, "bias": bias} | options)
    )


_NARROW = {"bias": BiasTables(time=jnp.zeros(200), bucket_width=0.1)}
_NO_VMEM = {"blocks": BlockSizes(vmem_bytes=2**10)}


@pytest.mark.parametrize(
  ("options", "message"),
  [(_NARROW, "more than 128 time buckets"), (_NO_VMEM, "MiB of VMEM")],
)
def test_what_the_kernels_do_not_take_is_never_silent(
  options, message, monkeypatch
):
  """An error where they are asked for, a warning where they would be best."""
  (q, k, v, info, _), _ = make(Case(rows=1, length=4, requests=True))

  def attend(implementation):
    return silu_attention(
      *(q, k, v, info),
      normalizer=1.0,
      implementation=implementation,
      **options,
    )

  with pytest.raises(ValueError, match=message):
    attend("pallas_tpu_interpret")
  expected = attend("chunked")
  monkeypatch.setattr(api, "device_kind", lambda: "TPU v5e")
  with pytest.warns(UserWarning, match=f"plain JAX.* do not take .*{message}"):
    got = attend(None)
  np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("position", [-1, 9])
def test_a_position_outside_of_its_segment_is_nan_not_wrong(position):
  (q, k, v, info, bias), _ = make(
    Case(length=20, requests=True, sizes=((0, 9, 0), (1, 6, 2)))
  )
  positions = info.positions_BL.at[1, 4].set(position)
  info = dataclasses.replace(info, positions_BL=positions)
  out = jax.jit(
    lambda q: silu_attention(
      *(q, k, v, info),
      normalizer=8.0,
      bias=bias,
      implementation="pallas_tpu_interpret",
      blocks=SMALL,
    )
  )(q)
  assert np.all(np.isfinite(out[0]))
  assert np.all(np.isnan(out[1, :18]))


def test_shapes_that_do_not_fit_are_errors():
  (q, k, v, info, _), _ = make(Case(rows=2, length=4, heads=2))
  short = jax.tree.map(lambda x: x[:, :3], info)
  for arrays, options, message in [
    ((q[:, :2], k, v, info), {}, "2 queries and 4 keys"),
    ((q, k[:, :, :1], v, info), {}, "differ in rows, heads or width"),
    ((q, k, v[:, :, :1], info), {}, "differ in rows, length or heads"),
    ((q, k, v, short), {}, r"info is of rows \(2, 3\), keys are \(2, 4\)"),
    (
      (q, k, v, info),
      {"query_index_BQ": jnp.zeros((2, 3), int)},
      r"query_index_BQ is \(2, 3\)",
    ),
  ]:
    with pytest.raises(ValueError, match=message):
      _unchecked(silu_attention)(*arrays, normalizer=1.0, **options)


def _unchecked(fn):
  """Without the annotations' own check, as a user runs it."""
  return getattr(fn, "__wrapped__", fn)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_of_chunked_is_linear_in_length(dtype):
  """At 16,384 and 4 heads: at most 8 times q, k and v."""
  length, heads, width = 16_384, 4, 128
  vectors = jax.ShapeDtypeStruct((1, length, heads, width), dtype)
  facts = jax.ShapeDtypeStruct((1, length), jnp.int32)
  bias = BiasTables(
    jax.ShapeDtypeStruct((2 * length - 1,), jnp.float32),
    jax.ShapeDtypeStruct((129,), jnp.float32),
  )

  def loss(q, k, v, bias, *facts):
    rows = Rows.of(SequenceInfo(*facts), 1.0)
    return jnp.sum(chunked(q, k, v, rows, bias, 1.0).astype(jnp.float32))

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))
  compiled = gradient.lower(*(vectors,) * 3, bias, *(facts,) * 4).compile()
  taken = compiled.memory_analysis().temp_size_in_bytes
  size = 3 * length * heads * width * vectors.dtype.itemsize
  assert taken < 8 * size


# A program per row: on both sides of a block's border, with every switch.
_SHAPES = {
  "blocks_differ": (
    Case(rows=1, length=400, width=24, value_width=40, reach=300),
    0,
    BlockSizes(128, 256, 32, 256, 128, 64),
  ),
  "a_head_at_a_time": (
    Case(rows=1, length=300, heads=3, per_head=True, reach=320),
    90,
    BlockSizes(128, 128, 64, 128, 128, 128, heads=1),
  ),
  "a_window_of_1": (
    Case(length=129, heads=1, width=4, value_width=4, time=False, reach=2),
    1,
    BlockSizes(256, 128, 128, 128, 256, 16),
  ),
  "time_alone": (Case(rows=3, length=257, width=24, position=False), 0, SMALL),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _SHAPES)
def test_any_masks_and_times(name):
  shape, window, blocks = _SHAPES[name]
  for seed in range(10):
    case = dataclasses.replace(shape, seed=seed, segments=seed % 4 != 3)
    inputs, g = make(case)
    expected = run("reference", inputs, g, window=window)
    for implementation in _KERNELS:
      got = run(implementation, inputs, g, blocks=blocks, window=window)
      assert_close(got, expected, 1e-5)


def _cut(sizes, length):
  """As many segments as a row of a length has room for."""
  ends = np.cumsum([sum(size) for size in sizes])
  return tuple(
    size for size, end in zip(sizes, ends, strict=True) if end <= length
  )


_SIZES = st.tuples(
  st.integers(0, 4), st.integers(1, 330), st.sampled_from([0, 1, 7, 60])
)


@pytest.mark.slow
@settings(max_examples=25)
@given(
  sizes=st.lists(_SIZES, min_size=1, max_size=6),
  share=st.sampled_from([0.004, 0.1, 1.0]),
  whole=st.booleans(),
  window=st.sampled_from([0, 0, 70]),
  seed=st.integers(0, 999),
)
def test_any_requests_roles_and_times(sizes, share, whole, window, seed):
  """Requests of up to 330 events: places of a block lie far apart."""
  length = 400
  case = Case(
    *(1, length, 2, 8, 12),
    requests=True,
    reach=150,
    whole=whole,
    share=share,
    sizes=_cut(sizes, length),
    seed=seed,
  )
  inputs, g = make(case)
  expected = run("reference", inputs, g, window=window)
  for implementation in _KERNELS:
    got = run(implementation, inputs, g, window=window)
    assert_close(got, expected, 1e-5)


@pytest.mark.slow
def test_a_gpu_takes_plain_jax(monkeypatch):
  inputs, g = make(Case(rows=1, length=40))
  expected = run("reference", inputs, g)
  monkeypatch.setattr(api, "device_kind", lambda: "NVIDIA H200")
  monkeypatch.setattr(api, "pallas_tpu", None)
  assert_close(run(None, inputs, g), expected)
  with pytest.raises(ValueError, match="needs a TPU, and this is NVIDIA H200"):
    run("pallas_tpu", inputs, g)
