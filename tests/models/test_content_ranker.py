# SPDX-License-Identifier: Apache-2.0
"""A ranker that trains an encoder: histories, gradients, what it carries."""

import functools

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from configs import lemur_synthetic
from genrec_jax.core.sharding import MeshOptions, put
from genrec_jax.core.types import ItemData, Items
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.layers.history_pooling import SumPooling
from genrec_jax.layers.interactions import Concat
from genrec_jax.layers.item_content import ContentMlp
from genrec_jax.layers.memory_bank import MemoryBank
from genrec_jax.layers.row_sampling import RowSampling
from genrec_jax.models.content_ranker import ContentRanker
from genrec_jax.objectives import QueryDocumentContrast
from genrec_jax.train.checkpoints import Checkpoints

_V, _W, _E, _H = 9, 6, 4, 3
_ROWS = (5, 6)
_RNG = np.random.default_rng(0)
_WITHOUT = 8
_CONTENT = _RNG.normal(size=(_V + 1, _W)).astype(np.float32)
_CONTENT[[0, _WITHOUT]] = 0
_DATA = ItemData(_CONTENT, np.arange(_V + 1))
_ITEMS = Items(_V, lambda ids: ids)
_BANK = MemoryBank()


def _encoder():
  return ContentMlp(content_width=_W, width=_E, hidden_widths=())


@functools.cache
def _system(memory=_BANK, **options):
  options = {"num_cosines": 2 if memory else 0, **options}
  return ContentRanker(
    num_items=_V,
    num_tasks=1,
    num_actions=1,
    feature_rows=_ROWS,
    history_columns=(0,),
    width=3,
    pooling=SumPooling(),
    interactions=Concat(),
    tower_widths=(8,),
    embedding_init_std=0.3,
    item_encoder=_encoder(),
    query_encoder=_encoder(),
    memory=memory,
    **options,
  )


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  shape = (2, 5)
  history = rng.integers(1, _V + 1, (*shape, _H))
  history[rng.random(history.shape) < 0.3] = 0
  arrays = {
    "item_BL": rng.integers(1, _V + 1, shape),
    "query_BL": rng.integers(0, 4, shape),
    "features_BLF": np.stack([rng.integers(0, r, shape) for r in _ROWS], -1),
    "history_item_BLH": history,
    "history_features_BLHG": rng.integers(0, _ROWS[0], (*history.shape, 1)),
    "history_action_BLH": rng.integers(0, 2, history.shape),
    "label_BL": rng.integers(0, 2, shape),
    "labelled_BL": np.ones(shape),
    "segment_ids_BL": np.array([[1, 1, 1, 2, 2], [1, 1, 1, 0, 0]]),
  }
  padding = arrays["segment_ids_BL"] == 0
  arrays["item_BL"][padding] = arrays["query_BL"][padding] = 0
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


@functools.cache
def _params(system):
  params = system.init(jax.random.key(0), _batch(), deterministic=True)
  params = system.data_init(params["params"], _DATA, jax.random.key(0))
  return jax.tree.map(jnp.asarray, params)


@functools.partial(jax.jit, static_argnums=0, static_argnames="deterministic")
def _apply(system, params, batch, deterministic=False):
  rngs = {} if deterministic else {"dropout": jax.random.key(3)}
  found = system.apply(
    {"params": params}, batch, deterministic=deterministic, rngs=rngs
  )
  return found.logits, found.query, found.item, found.aux


@functools.partial(jax.jit, static_argnums=(0, 3))
def _gradient(system, params, batch, kind):
  """Of a sum of logits or of the contrast, by all that can be trained."""

  def loss(trained):
    outputs = system.apply(
      {"params": {**params, **trained}},
      batch,
      deterministic=False,
      rngs={"dropout": jax.random.key(3)},
    )
    if kind == "logits":
      return jnp.sum(outputs.logits**2)
    objective = QueryDocumentContrast(("click",), ("click",), scale=3.0)
    return objective(outputs, batch, rng=jax.random.key(0), items=_ITEMS)[0]

  trained = {k: v for k, v in params.items() if k != "documents"}
  return jax.grad(loss)(trained)


def _largest(tree):
  return max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))


def _with_bank(params, vectors, known):
  """The parameters with vectors in the bank."""
  documents = params["documents"]
  bank = {
    "vectors": jnp.asarray(vectors, jnp.float32),
    "written": jnp.asarray(known, jnp.int32),
    "clock": jnp.int32(1),
  }
  return {**params, "documents": {**documents, "bank": bank}}


def _encoded(params):
  own = jax.tree.map(np.asarray, params["item_encoder"]["output"])
  x = _CONTENT @ own["kernel"] + own["bias"]
  return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)


@pytest.mark.parametrize(
  "deterministic", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_fresh_bank_is_a_history_that_is_encoded_anew(deterministic):
  """The oracle has no bank: it encodes every item of the catalogue."""
  banked, batch = _system(), _batch()
  anew = _system(None, reencode_history=True, num_cosines=2)
  params = _params(anew)
  known = np.any(_CONTENT != 0, axis=1)
  with_bank = _with_bank(params, _encoded(params), known)
  one = _apply(banked, with_bank, batch, deterministic=deterministic)
  two = _apply(anew, params, batch, deterministic=deterministic)
  np.testing.assert_allclose(one[0], two[0], rtol=1e-4, atol=1e-5)
  if not deterministic:
    for kind in ("logits", "contrast"):
      gradients = (
        _gradient(banked, with_bank, batch, kind),
        _gradient(anew, params, batch, kind),
      )
      jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
        *gradients,
      )
  # And a bank with something else in it is not.
  other = _with_bank(params, _RNG.normal(size=(_V + 1, _E)), known)
  found = _apply(banked, other, batch, deterministic=deterministic)[0]
  assert np.abs(found - two[0]).max() > 1e-2


def test_histories_have_no_gradient_and_candidates_have():
  system, batch = _system(), _batch()
  params = _params(system)
  parts = ("item_encoder", "query_encoder")
  gradient = _gradient(system, params, batch, "logits")
  assert all(_largest(gradient[part]) > 1e-4 for part in parts)
  # Without the candidates' own way only the history's would be left.
  apart = _system(stop_gradient=True)
  gradient = _gradient(apart, params, batch, "logits")
  assert all(_largest(gradient[part]) == 0 for part in parts)
  assert _largest(gradient["event_in"]) > 1e-4
  np.testing.assert_array_equal(
    _apply(apart, params, batch)[0], _apply(system, params, batch)[0]
  )
  gradient = _gradient(apart, params, batch, "contrast")
  assert all(_largest(gradient[part]) > 1e-4 for part in parts)
  assert _largest(gradient["tower"]) == 0


def test_an_impression_is_what_it_is_alone_whatever_the_order_of_its_history():
  system, batch = _system(), _batch()
  params = _with_bank(
    _params(system), _encoded(_params(system)), np.arange(_V + 1) % 2
  )
  logits = _apply(system, params, batch, deterministic=True)[0]
  assert not np.asarray(logits)[1, 3:].any()
  alone = {k: v[:1, 2:3] for k, v in batch.items()}
  np.testing.assert_allclose(
    _apply(system, params, alone, deterministic=True)[0][0, 0],
    logits[0, 2],
    rtol=1e-4,
    atol=1e-6,
  )
  order = np.array([2, 0, 1])
  names = ("item_BLH", "features_BLHG", "action_BLH")
  mixed = {f"history_{n}": batch[f"history_{n}"][:, :, order] for n in names}
  np.testing.assert_allclose(
    _apply(system, params, batch | mixed, deterministic=True)[0],
    logits,
    rtol=1e-4,
    atol=1e-6,
  )


@pytest.mark.parametrize(
  "options",
  [
    {},
    pytest.param(
      {"memory": None, "reencode_history": True, "num_cosines": 2},
      marks=pytest.mark.slow,
    ),
  ],
)
def test_a_program_may_be_for_any_number_of_requests(options):
  system, batch = _system(**options), _batch()
  params = _params(system)

  def score(batch):
    return system.apply({"params": params}, batch, method="score")

  (rows,) = export.symbolic_shape("requests")
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), batch
  )
  program = export.export(jax.jit(score))(shapes)
  expected = _apply(system, params, batch, deterministic=True)[0]
  some = {k: v[1:] for k, v in batch.items()}
  np.testing.assert_allclose(
    program.call(some), expected[1:], rtol=1e-4, atol=1e-6
  )


def test_what_has_no_text_is_ranked_and_answers_no_query():
  system, batch = _system(), _batch()
  params = _params(system)
  batch["item_BL"] = batch["item_BL"].at[0, :2].set(_WITHOUT)
  batch["query_BL"] = batch["query_BL"].at[0].set(_WITHOUT)
  batch["history_item_BLH"] = batch["history_item_BLH"].at[0].set(_WITHOUT)
  batch["label_BL"] = jnp.ones_like(batch["label_BL"])
  logits, query, item, aux = _apply(system, params, batch)
  assert np.isfinite(logits).all() and (np.asarray(logits)[0] != 0).all()
  assert not np.asarray(aux["known_BL"])[0, :2].any()
  assert not np.asarray(aux["asked_BL"])[0].any()
  np.testing.assert_array_equal(item[0, 0], params["documents"]["unknown"])
  np.testing.assert_array_equal(query[0, 0], params["no_query"])
  for kind in ("logits", "contrast"):
    gradient = _gradient(system, params, batch, kind)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
  nothing = ItemData(np.zeros_like(_CONTENT), np.ones(_V + 1))
  with pytest.raises(ValueError, match="none of the 9 items has content"):
    system.data_init(params, nothing, jax.random.key(0))


class _Named(Concat):
  """Interactions that know what they are given."""

  logical_axes = {}
  feature_names = ("item.id", "user.id")
  num_inner = 0

  def meet(self, x_FD, where, deterministic):
    raise NotImplementedError


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"reencode_history": True}, "of which one would not be read"),
    (
      {"memory": None, "sampling": RowSampling(0.5, 0.5)},
      "leaves items out, which are read from a memory then",
    ),
    ({"memory": MemoryBank(limit_mib=1e-4)}, "takes 0.0 MiB, 0.0 MiB more"),
    ({"memory": None, "num_cosines": 3}, "num_cosines=3 are of a history's"),
    ({"num_queries": 0}, "num_queries=0 must be at least 1"),
    (
      {"memory": None, "num_cosines": 0, "live_candidates": False},
      "live_candidates=False reads candidates from a memory",
    ),
    ({"history_columns": ()}, "num_cosines=2 is of a history, and none is"),
    (
      {"audience_columns": (1,), "audience_pooling": SumPooling()},
      "models.ContentRanker reads no audience",
    ),
    ({"interactions": _Named()}, "what is made of content has none"),
    (
      {"query_encoder": ContentMlp(_W, 5)},
      r"item_encoder\.width=4 and .*query_encoder\.width=5",
    ),
  ],
)
def test_what_does_not_go_together_is_refused(options, message):
  system = _system()
  fields = {n: getattr(system, n) for n in system.__dataclass_fields__}
  fields = {k: v for k, v in fields.items() if k not in ("parent", "name")}
  with pytest.raises(ValueError, match=message):
    ContentRanker(**{**fields, **options})


# The quick form of the config, through the one train step.

_SHOWN = 80


@pytest.fixture(scope="module")
def program():
  c = lemur_synthetic.get_config("sampled-quicktest")
  c.optimizer.weight_decay = 0.5
  return Program.from_config(
    check_config(c), _SHOWN, MeshOptions().place(jax.devices()[:1])
  )


@pytest.fixture(scope="module")
def start(program):
  """Parameters with words of eighty items; the last has none."""
  rng = np.random.default_rng(1)
  tokens = rng.integers(1, 64, (_SHOWN + 1, 8)).astype(np.int32)
  tokens[:, 5:] = 0
  tokens[[0, _SHOWN]] = 0
  words = rng.normal(size=(64, 8)).astype(np.float32)
  data = ItemData(tokens, np.ones(_SHOWN + 1), words)
  with program.in_force():
    params = jax.device_get(program.init_state().params)
  return program.system.data_init(params, data, jax.random.key(0))


def _train_batch(program, step):
  """Items of one half of the catalogue, other ones in every step."""
  rng = np.random.default_rng(step)
  batch = {k: np.zeros_like(v) for k, v in program.example_batch(8).items()}
  shape = batch["item_BL"].shape
  batch["item_BL"] = rng.integers(1, 41, shape)
  batch["query_BL"] = rng.integers(60, 70, shape)
  batch["history_item_BLH"] = rng.integers(
    0, 61, batch["history_item_BLH"].shape
  )
  batch["label_BL"] = rng.integers(0, 2, shape)
  batch["labelled_BL"] = batch["segment_ids_BL"] = np.ones(shape)
  batch = {k: np.asarray(v, np.int32) for k, v in batch.items()}
  return put(batch, program.placement.by_rows)


def _trained(program, state, steps):
  metrics = None
  for step in steps:
    state, metrics = program.train_step(state, _train_batch(program, step))
  return state, metrics


def _bank(state):
  return jax.device_get(state.params["documents"]["bank"])


def test_a_run_that_goes_on_has_the_bank_that_it_had(program, start, tmp_path):
  with program.in_force():
    whole, _ = _trained(program, program.init_state(start), range(4))
    whole = jax.device_get(whole)
    half, metrics = _trained(program, program.init_state(start), range(2))
    kept = _bank(half)
    assert kept["clock"] == 2 and np.count_nonzero(kept["written"]) > 8
    with Checkpoints(tmp_path) as checkpoints:
      checkpoints.save(half, data={}, progress={}, config={})
      again = checkpoints.restore(
        program.abstract_state(), program.state_shardings
      ).state
    jax.tree.map(np.testing.assert_array_equal, _bank(again), kept)
    again, _ = _trained(program, again, range(2, 4))
  jax.tree.map(np.testing.assert_array_equal, whole, jax.device_get(again))
  parts = jax.device_get(metrics["parts"])
  names = ("coverage", "encoded", "age")
  found = {n: parts[f"memory/{n}"].compute() for n in names}
  assert found["encoded"] == pytest.approx(0.2, abs=0.02)
  assert 0 < found["coverage"] < 1 and found["age"] == 1


def test_only_what_is_written_changes_and_nothing_decays_or_trains(
  program, start
):
  with program.in_force():
    state = program.init_state(start)
    before = _bank(state)
    assert not before["written"].any()
    for step in range(3):
      last = jax.device_get(state.params)
      state, _ = _trained(program, state, [step])
      after = _bank(state)
      written = after["written"] == step + 1
      # A fifth of some forty, each once; what nobody was shown is not.
      assert 5 <= written.sum() <= 9 and not written[41:].any()
      others = ~written
      for name in ("vectors", "written"):
        np.testing.assert_array_equal(after[name][others], before[name][others])
      # They are what the parameters of the step made of the texts.
      fresh = program.system.apply(
        {"params": jax.tree.map(jnp.asarray, last)},
        jnp.asarray(np.flatnonzero(written), jnp.int32),
        deterministic=True,
        method=lambda system, ids, deterministic: (
          system.documents(ids, deterministic=deterministic).vectors
        ),
      )
      np.testing.assert_allclose(
        after["vectors"][written], fresh, rtol=1e-4, atol=1e-5
      )
      before = after
  names = [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, _ in jax.tree_util.tree_leaves_with_path(state.opt_state)
  ]
  assert not any("bank" in name or "item_content" in name for name in names)
  assert any("item_encoder" in name for name in names)
