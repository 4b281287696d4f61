# SPDX-License-Identifier: Apache-2.0
"""RQ-VAE: the one step trains it; its tokenizer codes as it does."""

import functools

import jax
import numpy as np
import pytest

from genrec_jax.core import sharding
from genrec_jax.evaluation.code_quality import CodeQuality
from genrec_jax.experiment.experiment import Run
from genrec_jax.layers.quantizer import ResidualQuantizer
from genrec_jax.models.rqvae import RQVAE
from genrec_jax.objectives.contrastive import InBatchContrastive
from genrec_jax.objectives.reconstruction import Reconstruction
from genrec_jax.semantic_ids.quantizers import base as tokenizer
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step
from tests.data.layouts.parts_by_hand import ArtifactsByHand

_N, _D = 256, 12


def _vectors():
  rng = np.random.default_rng(0)
  mix = rng.normal(size=(4, _D))
  x = np.tanh(rng.normal(size=(_N, 4)) @ mix) + 3
  return x.astype(np.float32)


def _batch(partners=False):
  item = np.arange(1, _N + 1, dtype=np.int32).reshape(8, -1)
  vectors = _vectors().reshape(8, -1, _D)
  segments = np.broadcast_to(
    np.arange(1, _N // 8 + 1, dtype=np.int32), item.shape
  )
  batch = {
    "item_BL": item,
    "segment_ids_BL": np.array(segments),
    "vector_BLD": vectors,
  }
  if partners:
    batch["partner_BL"] = item[:, ::-1].copy()
    batch["partner_vector_BLD"] = vectors[:, ::-1].copy()
  return jax.device_put(batch)


def _system(**options):
  quantizer = {"ema": True, "reset_share": 0.1, **options.pop("quantizer", {})}
  return RQVAE(
    num_items=_N,
    vector_width=_D,
    widths=(16,),
    quantizer=ResidualQuantizer((16, 16), 6, **quantizer),
    **options,
  )


@functools.lru_cache
def _start(system, partners=False):
  batch = _batch(partners)
  params = init_params(system, batch, jax.random.key(0))
  return system.data_init(params, _vectors(), jax.random.key(1))


_OPTIMIZER = adamw(1e-2, weight_decay=1e-3)


def _make_step(system, objective, placement=None):
  return jax.jit(
    make_train_step(system, objective, _OPTIMIZER, jax.random.key(0), placement)
  )


_step = functools.lru_cache(_make_step)


def _train(system, steps, objective=None, partners=False, placement=None):
  objective = objective or Reconstruction()
  # A placement has no hash.
  step = _step(system, objective)
  if placement is not None:
    step = _make_step(system, objective, placement)
  batch = _batch(partners)
  state = init_state(_start(system, partners), _OPTIMIZER)
  if placement is not None:
    state = jax.device_put(state, placement.replicated)
    batch = sharding.put(jax.device_get(batch), placement.by_rows)
  history = []
  for _ in range(steps):
    state, metrics = step(state, batch)
    history.append(jax.device_get(metrics))
  return state, history


def _outputs(system, params):
  apply = functools.partial(system.apply, deterministic=True)
  return jax.jit(apply)({"params": params}, _batch())


def _quality(system, params):
  vectors = np.concatenate([np.zeros((1, _D), np.float32), _vectors()])
  run = _run(system)
  # Only the vectors are read.
  object.__setattr__(
    run, "artifacts", ArtifactsByHand(None, vectors_V1D=vectors)
  )
  return CodeQuality().validate(run, params, None)


def _run(system):
  run = object.__new__(Run)
  object.__setattr__(run, "system", system)
  return run


@pytest.fixture(scope="module")
def trained_system():
  system = _system()
  return system, *_train(system, 150)


@pytest.mark.slow
def test_training_explains_and_uses_codes(trained_system):
  system, state, history = trained_system
  first, last = (
    float(history[i]["parts"]["reconstruction"].compute()) for i in (0, -1)
  )
  assert last < 0.2 * first
  assert history[0]["users"] == _N
  quality = _quality(system, state.params)
  assert quality["explained"] > 0.8
  # One of 16 codes is left over at some starts.
  assert quality["utilisation"] > 0.9
  assert quality["uniqueness"] > 0.4
  assert set(CodeQuality().names) < set(quality)


def test_the_tokenizer_codes_as_the_system_does(trained_system, tmp_path):
  system, state, _ = trained_system
  out = _outputs(system, state.params)
  fitted = system.tokenizer(jax.device_get(state.params))
  codes = fitted.encode(_vectors())
  np.testing.assert_array_equal(codes, out.aux["codes_BLM"].reshape(_N, 2))
  x = out.aux["reconstruction_BLD"].reshape(_N, _D)
  expected = x * state.params["scale"] + state.params["mean"][None]
  np.testing.assert_allclose(fitted.decode(codes), expected, atol=1e-4)
  costs = fitted.last_level_costs(_vectors())
  np.testing.assert_array_equal(costs.argmin(axis=1), codes[:, -1])
  fitted.save(tmp_path)
  again = tokenizer.load(tmp_path)
  assert again.fingerprint == fitted.fingerprint
  np.testing.assert_array_equal(again.encode(_vectors()), codes)


def test_codebooks_start_as_clusters_of_the_data():
  system = _system()
  params = _start(system)
  np.testing.assert_allclose(params["mean"], _vectors().mean(0), rtol=1e-5)
  out = _outputs(system, params)
  z = np.array(out.hidden).reshape(_N, -1)
  for level in range(2):
    book = params["quantizer"][f"level_{level}"]
    codes = np.array(out.aux["codes_BLM"]).reshape(_N, 2)[:, level]
    used = np.bincount(codes, minlength=16)
    assert (used > 0).all()
    np.testing.assert_allclose(book["usage"], used / _N, atol=1e-6)
    for code in range(16):
      np.testing.assert_allclose(
        book["embedding"][code], z[codes == code].mean(axis=0), atol=1e-4
      )
    z = z - np.array(book["embedding"])[codes]


@pytest.mark.slow
def test_random_codebooks_on_request():
  system, batch = _system(kmeans_init=False), _batch()
  fresh = init_params(system, batch, jax.random.key(0))
  params = _start(system)
  jax.tree.map(
    np.testing.assert_array_equal, fresh["quantizer"], params["quantizer"]
  )


@pytest.mark.slow
def test_codes_by_gradient_learn_too():
  system = _system(quantizer={"ema": False, "reset_share": 0.0})
  state, history = _train(system, 100)
  parts = [h["parts"] for h in history]
  assert float(parts[-1]["codebook"].compute()) > 0
  gone = float(parts[-1]["reconstruction"].compute())
  assert gone < 0.3 * float(parts[0]["reconstruction"].compute())


@pytest.mark.slow
def test_partners_come_together():
  objective = Reconstruction(
    contrastive=InBatchContrastive(weight=1.0, quantized=False)
  )
  _, history = _train(_system(), 60, objective, partners=True)
  losses = [float(h["parts"]["contrastive"].compute()) for h in history]
  assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_devices_change_nothing():
  # Resets draw rows of the batch; averages sum over all devices.
  system = _system(quantizer={"sinkhorn": (0.0, 0.05)})
  results = []
  for devices in (jax.devices()[:1], jax.devices()):
    placement = sharding.MeshOptions().place(devices)
    state, history = _train(system, 3, placement=placement)
    results.append((jax.device_get(state.params), history[-1]["loss"]))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *results
  )


def test_the_step_is_a_function_of_its_key():
  # Resets draw; the second run starts anew.
  first, second = (_train(_system(), 3)[0].params for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_code_quality_is_for_tokenizers():
  run = _run(object())
  with pytest.raises(ValueError, match="lacks tokenizer, which TokenizerModel"):
    CodeQuality().check(run)
