# SPDX-License-Identifier: Apache-2.0
"""Models of codes and vectors searched by their vectors alone, and what the
host has to do with their programs: nothing."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cobra_amazon, liger_amazon
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.evaluation.next_item import NextItem
from genrec_jax.tpu.compile import steps_of
from tests import vector_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return vector_runs.prepared(tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="module")
def cobra(folder, tmp_path_factory):
  return vector_runs.run_of(
    folder, tmp_path_factory.mktemp("cobra"), cobra_amazon
  )


@pytest.fixture(scope="module")
def liger(folder, tmp_path_factory):
  return vector_runs.run_of(
    folder, tmp_path_factory.mktemp("liger"), liger_amazon
  )


def _of_history(cobra):
  """The run with a vector that is read before the codes."""
  system = cobra.system.clone(vector_from="history")
  return dataclasses.replace(cobra, system=system)


@pytest.mark.parametrize("retriever", ["brute_force", "scann"])
@pytest.mark.parametrize("name", ["cobra", "liger"])
def test_all_items_are_ranked_by_the_vector_of_a_history(
  name, retriever, request
):
  if retriever == "scann" and importlib.util.find_spec("scann") is None:
    pytest.skip("needs the extra `scann`")
  run = request.getfixturevalue(name)
  if name == "cobra":
    run = _of_history(run)
  params = vector_runs.loaded(run).params
  search = run.search(params, run.index(params, retriever))
  items = np.asarray(run.item_vectors(params), np.float64)
  for batch in iter_requests(run.histories, "test", 16):
    allowed = history_mask(batch, run.histories.manifest.num_items)
    ids, scores, _ = search(batch, 5, allowed)
    tokens = run.pipeline.layout.request_batch(batch)
    tokens = jax.tree.map(jnp.asarray, tokens)
    bound = run.system.bind({"params": params})
    query = np.asarray(bound.history_vector(bound.start(tokens)[0]), np.float64)
    expected = np.where(allowed.dense(), query @ items.T, -np.inf)
    best = -np.sort(-expected, axis=1)[:, :5]
    np.testing.assert_allclose(scores, best, atol=1e-5)
    there = np.take_along_axis(expected, np.asarray(ids), axis=1)
    np.testing.assert_allclose(there, best, atol=1e-5)


def test_evaluation_asks_the_vectors_alone_where_an_index_is_named(liger):
  loaded = vector_runs.loaded(liger)
  # One list of codes, few of the items: not what the whole catalogue gives.
  few = dataclasses.replace(liger.retrieval, num_beams=1, with_cold=False)
  liger = dataclasses.replace(liger, retrieval=few)
  sections = {}
  for retriever in (None, "brute_force"):
    evaluator = NextItem(ks=(1, 5), retriever=retriever)
    evaluator.check(liger)
    section, _ = evaluator.measure(liger, loaded, baselines=False)
    sections[retriever] = section
  assert sections["brute_force"]["retriever"] == "brute_force"
  assert sections[None]["retriever"] == "BeamUnion"
  metrics = [s["metrics"]["test"] for s in sections.values()]
  assert metrics[0] != metrics[1]


def test_a_vector_behind_codes_searches_no_whole_catalogue(cobra):
  params = vector_runs.loaded(cobra).params
  with pytest.raises(ValueError, match="behind its codes.*vector_from='hist"):
    cobra.index(params, "brute_force")


def _lowered(program, name):
  (step,) = steps_of(program, (name,))
  with program.in_force():
    return step.function.lower(*step.arguments).as_text()


def test_train_query_and_fused_search_have_no_callback(cobra, liger):
  def says(x):
    jax.debug.callback(lambda y: None, x)
    return x

  # What such a program would say.
  assert "callback" in jax.jit(says).lower(1.0).as_text()
  for run in (cobra, liger):
    program = run.program()
    assert program.steps == ("train", "items", "decode")
    for name in program.steps:
      text = _lowered(program, name)
      assert "func.func" in text and "callback" not in text, name
  alone = dataclasses.replace(_of_history(cobra), retrieval=None)
  for name in ("query", "retrieve"):
    assert "callback" not in _lowered(alone.program(), name), name
