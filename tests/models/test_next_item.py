# SPDX-License-Identifier: Apache-2.0
"""The published models: parity, parameter counts, causality, packing."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import hstu_movielens, sasrec_movielens
from genrec_jax.core.build import build
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.local_time import LocalTime
from genrec_jax.golden import compare
from genrec_jax.golden.agreement import GRADIENT_TOLERANCE
from genrec_jax.train.state import num_parameters

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_GOLDEN = sorted((_ROOT / "tests" / "golden").glob("*.npz"))
_V = 30
_CLOCK = LocalTime(1_700_000_000)


def _golden(path):
  # Many cases, each by three implementations: a minute and a half.
  marks = [pytest.mark.slow] if path.stem == "hstu_attention" else []
  return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", [_golden(p) for p in _GOLDEN])
def test_golden_values(path):
  rows = compare(str(path))
  assert len(rows) > 10
  # The emitters that tests compile with (tests/quick_xla.py) add in an order of
  # their own, which on some processors doubles the error of a gradient.
  # tests/scripts/test_check_golden.py asks for the tolerance itself.
  wrong = [
    row
    for row in rows
    if not row.good
    and not ("grad" in row.name and row.relative <= 2 * GRADIENT_TOLERANCE)
  ]
  assert not wrong, (
    f"{path.name} was computed by the reference implementation (or by"
    " the script beside it): if this fails, the model has changed, not"
    f" the reference. Beyond tolerance: {wrong}"
  )


def test_shared_golden_files_are_the_ones_kept_here(shared):
  names = ("hstu_research.npz", "sasrec_research.npz", "hstu_attention.npz")
  for name in names:
    kept = (_ROOT / "tests" / "golden" / name).read_bytes()
    assert (shared / "golden" / name).read_bytes() == kept


def _system(config, num_items, **changes):
  node = config.system.to_dict()
  node["backbone"].update(changes.pop("backbone", {}))
  return build(node | changes, num_items=num_items)


# Counts of the reference's modules (shared/reference/peers_hstu.md, 3a).
@pytest.mark.parametrize(
  ("config", "num_items", "changes", "items", "rest"),
  [
    (hstu_movielens.get_config(), 3952, {}, 197_650, 36_750),
    (
      hstu_movielens.get_config(),
      3952,
      {"num_layers": 8, "num_heads": 2, "key_width": 25, "value_width": 25},
      197_650,
      115_350,
    ),
    (sasrec_movielens.get_config(), 3952, {}, 197_650, 41_150),
    (hstu_movielens.get_config("20m"), 131_262, {}, 33_603_328, 1_367_960),
    (
      hstu_movielens.get_config("20m"),
      131_262,
      {"num_layers": 16, "num_heads": 8, "key_width": 32, "value_width": 32},
      33_603_328,
      5_309_792,
    ),
    (sasrec_movielens.get_config("20m"), 131_262, {}, 33_603_328, 1_633_024),
  ],
  ids=["hstu", "hstu_large", "sasrec", "hstu20m", "hstu20m_large", "sasrec20m"],
)
def test_parameter_counts(config, num_items, changes, items, rest):
  system = _system(config, num_items, backbone=changes)
  params = jax.eval_shape(
    lambda: system.init(jax.random.key(0), _batch(1), deterministic=True)
  )["params"]
  assert num_parameters(params["item_embedding"]) == items
  assert num_parameters(params) - items == rest


@pytest.mark.parametrize(
  ("backbone", "rest"),
  [
    (
      {"num_layers": 4, "num_heads": 4, "key_width": 16, "value_width": 16},
      87_080,
    ),
    (
      {"num_layers": 16, "num_heads": 8, "key_width": 8, "value_width": 8},
      336_608,
    ),
  ],
  ids=["books", "books_large"],
)
def test_parameter_counts_of_books(backbone, rest):
  system = _system(
    hstu_movielens.get_config(),
    100,
    width=64,
    num_positions=61,
    backbone={**backbone, "num_positions": 61},
  )
  params = jax.eval_shape(
    lambda: system.init(jax.random.key(0), _batch(1), deterministic=True)
  )["params"]
  count = num_parameters(params) - num_parameters(params["item_embedding"])
  assert count == rest


def _batch(rows, length=12, seed=0):
  """One user per row, the last row shorter, padding at the end."""
  rng = np.random.default_rng(seed)
  valid = np.ones((rows, length), np.int32)
  valid[-1, length - 3 :] = 0
  times = np.sort(rng.integers(0, 10**6, (rows, length)), axis=1)
  ids = rng.integers(1, _V + 1, (rows, length)) * valid
  arrays = {
    "item_BL": ids,
    "label_BL": np.roll(ids, -1, axis=1) * valid,
    "time_BL": times,
    "query_time_BL": np.concatenate([times[:, 1:], times[:, -1:] + 60], 1),
    "segment_ids_BL": valid,
    "positions_BL": np.arange(length)[None, :] * valid,
  }
  arrays["calendar_BLC"] = _CLOCK.of(arrays["query_time_BL"])
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


def _backbones():
  hstu, sasrec = hstu_movielens.get_config(), sasrec_movielens.get_config()
  softmax = hstu_movielens.get_config("softmax")
  pre_norm = {
    "name": "backbones.PreNormTransformer",
    "num_layers": 2,
    "num_heads": 2,
    "ffn_width": 32,
  }
  return {
    "hstu": _system(hstu, _V),
    "hstu_softmax": _system(softmax, _V),
    "rotary": _system(hstu_movielens.get_config("rotary-calendar-no_bias"), _V),
    "token": _system(
      hstu_movielens.get_config("rotary-calendar"), _V, calendar_as="token"
    ),
    "stu": _system(hstu_movielens.get_config("production"), _V),
    "sasrec": _system(sasrec, _V),
    "pre_norm": build(
      sasrec.system.to_dict() | {"backbone": pre_norm}, num_items=_V
    ),
  }


@pytest.fixture(
  scope="module",
  params=[
    *("hstu", "hstu_softmax", "rotary", "token", "stu", "sasrec", "pre_norm"),
  ],
)
def model(request):
  """A system and parameters that are far from their small initial values."""
  system = _backbones()[request.param]
  params = system.init(jax.random.key(0), _batch(1), deterministic=True)
  keys = iter(jax.random.split(jax.random.key(1), 200))
  params = jax.tree.map(
    lambda x: x + 0.2 * jax.random.normal(next(keys), x.shape), params
  )
  apply = jax.jit(lambda batch: system.apply(params, batch, deterministic=True))
  return system, params, apply


@pytest.mark.slow
def test_a_query_depends_on_the_past_alone(model):
  system, params, _ = model
  batch = _batch(2)
  x = system.apply(params, batch["item_BL"], method="items")

  @jax.jit
  def gradient(position):
    def output(table):
      changed = jax.tree.map(lambda y: y, params)
      changed["params"]["item_embedding"]["embedding"] = table
      query = system.apply(changed, distinct, deterministic=True).query
      return jnp.sum(query[0, position])

    return jax.grad(output)(params["params"]["item_embedding"]["embedding"])

  # Every position holds an item of its own, so rows of the table's gradient
  # say which positions a query depends on.
  ids = jnp.arange(1, 25, dtype=jnp.int32).reshape(2, 12)
  distinct = batch | {"item_BL": ids * (batch["segment_ids_BL"] > 0)}
  assert x.shape[0] == batch["item_BL"].shape[0]
  for position in (0, 5, 11):
    reached = np.any(np.asarray(gradient(position)) != 0, axis=1)
    np.testing.assert_array_equal(
      np.flatnonzero(reached), np.arange(1, position + 2)
    )


def test_padding_has_no_query(model):
  *_, apply = model
  assert not np.any(np.asarray(apply(_batch(2)).query)[-1, -3:])


def test_packed_users_get_the_queries_of_users_alone(model):
  *_, apply = model
  lengths, row = (5, 4, 2), 12
  alone = _batch(3, row, seed=4)
  valid = np.arange(row)[None, :] < np.array(lengths)[:, None]
  single = {
    k: jnp.where(valid[:, :, None] if v.ndim == 3 else valid, v, 0)
    for k, v in alone.items()
  }
  single["segment_ids_BL"] = jnp.asarray(valid, jnp.int32)
  single["positions_BL"] = jnp.where(valid, jnp.arange(row)[None, :], 0)
  parts = [np.asarray(single[k]) for k in single]
  packed = {}
  for name, value in zip(single, parts, strict=True):
    joined = np.concatenate([value[i, :n] for i, n in enumerate(lengths)])
    rest = ((0, row - len(joined)), (0, 0))[: joined.ndim]
    packed[name] = np.pad(joined, rest)[None]
  segments = np.repeat([1, 2, 3], lengths)
  packed["segment_ids_BL"] = np.pad(segments, (0, row - len(segments)))[None]
  packed = {k: jnp.asarray(v, jnp.int32) for k, v in packed.items()}
  together = np.asarray(apply(packed).query)[0]
  separate = np.asarray(apply(single).query)
  start = 0
  for user, length in enumerate(lengths):
    np.testing.assert_allclose(
      together[start : start + length], separate[user, :length], atol=2e-6
    )
    start += length


@pytest.mark.slow
def test_the_last_query_is_that_of_the_last_event(model):
  system, params, apply = model
  batch = _batch(3)
  last = system.apply(params, batch, method="query")
  every = apply(batch).query
  np.testing.assert_allclose(last[0], every[0, 11], atol=1e-6)
  np.testing.assert_allclose(last[2], every[2, 8], atol=1e-6)


def test_short_rows_of_requests_ask_the_same(model):
  system, params, _ = model
  layout = NextItem(max_length=40, calendar=True)
  rng = np.random.default_rng(0)
  lengths = (0, 1, 7, 16, 0)
  times = [np.sort(rng.integers(0, 10**6, n, np.int32)) for n in lengths]
  records = [
    {
      "user": np.array(0, np.int32),
      "item": rng.integers(1, _V, len(time), np.int32),
      "time": time,
    }
    for time in times
  ]
  zeros = np.zeros(len(records), np.int32)
  asked = Requests(zeros, zeros, records, zeros + 2 * 10**6, zeros)
  whole = layout.request_batch(asked)
  short = layout.shortened(whole)
  assert whole["item_BL"].shape == (5, 40) and short["item_BL"].shape == (5, 16)
  queries = [
    system.apply(params, jax.tree.map(jnp.asarray, x), method="query")
    for x in (whole, short)
  ]
  np.testing.assert_allclose(*queries, atol=1e-6)
  records[1] = {name: np.repeat(x, 17) for name, x in records[1].items()}
  records[1]["user"] = np.array(0, np.int32)
  longer = layout.request_batch(dataclasses.replace(asked, history=records))
  assert layout.shortened(longer)["item_BL"].shape == (5, 40)
  layout = NextItem(max_length=100, calendar=True)
  longer = layout.request_batch(dataclasses.replace(asked, history=records))
  assert layout.shortened(longer)["item_BL"].shape == (5, 64)


def test_only_biases_and_rotary_time_read_times(model):
  system, _, apply = model
  batch = _batch(2)
  later = batch | {"query_time_BL": batch["query_time_BL"] + 86_400 * 30}
  same = np.allclose(apply(batch).query, apply(later).query)
  assert same != system.uses_time


@pytest.mark.slow
def test_bfloat16_is_close_to_float32():
  config = hstu_movielens.get_config()
  system = _system(config, _V)
  params = system.init(jax.random.key(0), _batch(1), deterministic=True)
  low = _system(config, _V, dtype="bfloat16", backbone={"dtype": "bfloat16"})
  outputs = [
    s.apply(params, _batch(2), deterministic=True) for s in (system, low)
  ]
  assert outputs[1].hidden.dtype == jnp.bfloat16
  assert outputs[1].query.dtype == jnp.float32
  np.testing.assert_allclose(outputs[0].query, outputs[1].query, atol=0.03)


@pytest.fixture(scope="module")
def both():
  """With rotary time and biases: without and with the calendar."""
  found = {}
  for form, changes in (
    ("rotary", {}),
    ("rotary-calendar", {}),
    ("token", {"calendar_as": "token"}),
  ):
    config = hstu_movielens.get_config(form.replace("token", "rotary-calendar"))
    system = _system(config, _V, **changes)
    params = system.init(jax.random.key(0), _batch(1), deterministic=True)
    params = jax.tree.map(lambda x: 3 * x, params)
    found[form] = jax.jit(
      lambda batch, s=system, p=params: s.apply(p, batch, deterministic=True)
    )
  return found


def test_who_reads_a_calendar_reads_times():
  system = _system(hstu_movielens.get_config("no_time-calendar"), _V)
  assert system.uses_time
  assert not _system(hstu_movielens.get_config("no_time"), _V).uses_time


def test_the_month_is_told_by_the_calendar_alone(both):
  """The same differences of times, five months later."""
  batch = _batch(2)
  later = _CLOCK.of(np.asarray(batch["query_time_BL"]) + 150 * 86_400)
  names = ("time_BL", "query_time_BL")
  moved = batch | {n: batch[n] + 150 * 86_400 for n in names}
  moved["calendar_BLC"] = jnp.asarray(later)
  change = {
    form: np.abs(apply(batch).query - apply(moved).query).max()
    for form, apply in both.items()
  }
  assert change["rotary"] < 1e-5 and change["rotary-calendar"] > 0.01
  assert change["token"] > 0.01


@pytest.mark.parametrize("form", ["rotary", "rotary-calendar", "token"])
def test_another_time_of_the_request_changes_the_last_query_alone(both, form):
  layout = NextItem(12, calendar=True, local_time=_CLOCK)
  times = np.arange(0, 5 * 10**6, 10**6, dtype=np.int32)
  items = np.arange(1, 6, dtype=np.int32)
  record = {"user": np.array(0, np.int32), "item": items, "time": times}
  one = np.zeros(1, np.int32)

  def asked(time):
    requests = Requests(one, one, [record], one + time, one)
    batch = layout.request_batch(requests)
    return batch, both[form](jax.tree.map(jnp.asarray, batch)).query[0]

  (now, query), (then, other) = asked(5 * 10**6), asked(12 * 10**6)
  for name in now:
    differs = np.argwhere(now[name] != then[name])
    place = {tuple(x) for x in differs[:, :2].tolist()}
    reads = name in ("query_time_BL", "calendar_BLC")
    assert place == ({(0, 4)} if reads else set()), name
  np.testing.assert_array_equal(query[:4], other[:4])
  assert np.abs(query[4] - other[4]).max() > 1e-3
  np.testing.assert_array_equal(
    now["calendar_BLC"][0, 4], _CLOCK.of(np.array(5 * 10**6))
  )


def test_a_calendar_that_no_layout_gives_is_an_error():
  system = _system(hstu_movielens.get_config("calendar"), _V)
  batch = {k: v for k, v in _batch(1).items() if k != "calendar_BLC"}
  with pytest.raises(ValueError, match="layout.calendar=True"):
    system.init(jax.random.key(0), batch, deterministic=True)


def test_a_calendar_is_a_token_or_added_and_nothing_else():
  config = hstu_movielens.get_config("calendar")
  with pytest.raises(ValueError, match="Did you mean 'token'"):
    _system(config, _V, calendar_as="tokens")
  with pytest.raises(ValueError, match="without config.system.calendar"):
    _system(hstu_movielens.get_config(), _V, calendar_as="token")


def test_a_token_is_read_where_it_asks_and_seen_from_there_on():
  config = hstu_movielens.get_config("no_time-calendar")
  system = _system(config, _V, calendar_as="token")
  init = jax.jit(
    lambda x: system.init(jax.random.key(0), x, deterministic=True)
  )
  batch = _batch(2)
  params = jax.tree.map(lambda x: 3 * x, init(batch))
  apply = jax.jit(lambda x: system.apply(params, x, deterministic=True).query)
  before = apply(batch)
  for place in (0, 4, 11):
    other = batch["calendar_BLC"].at[0, place, 2].add(5)
    after = apply(batch | {"calendar_BLC": other})
    changed = np.argwhere(np.abs(after - before).max(axis=-1) > 1e-6)
    assert changed.tolist() == [[0, later] for later in range(place, 12)]
