# SPDX-License-Identifier: Apache-2.0
"""Stages of a search by beams and vectors, against an exact search of codes."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from configs import cobra_amazon, liger_amazon
from genrec_jax.cli.evaluate import with_options
from genrec_jax.core import sharding
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.decoding.trie import Trie
from genrec_jax.evaluation import search_stages_results as results
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.evaluation.search_stages import SearchStages, searches
from genrec_jax.report.retrieval import search_stages as page
from genrec_jax.retrieval.beam_fusion import BeamFusion
from genrec_jax.retrieval.generative import Exact
from tests import vector_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return vector_runs.prepared(tmp_path_factory.mktemp("stages"))


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


def _expected(run, params, k):
  """Stages by loops: IDs by exact scores, lists as the run's search gives."""
  exact = dataclasses.replace(run.program(), retrieval=Exact(vector_runs.ITEMS))
  of_codes = run.search(params, program=exact)
  find = run.search(params, fill=False)
  codes, num_items = run.artifacts.codes(), run.histories.manifest.num_items
  cold = run.catalog.count == 0
  fusion = isinstance(run.retrieval, BeamFusion)
  counts, places = dict.fromkeys(results.STAGES, 0), []
  for batch in iter_requests(run.histories, "test", 16):
    allowed = history_mask(batch, num_items)
    by_codes = of_codes(batch, num_items, allowed)[0]
    lists = find(batch, k, allowed)[0]
    for row, target in enumerate(batch.target):
      order = [int(i) for i in by_codes[row] if i > 0]
      ids = list(dict.fromkeys(tuple(codes[i]) for i in order))
      mine = tuple(codes[target])
      place = ids.index(mine) + 1 if mine in ids else 0
      if place > run.retrieval.num_beams:
        place = 0
      places.append(place)
      proposed = bool(place)
      may_come = proposed or (not fusion and cold[target])
      if target in lists[row]:
        stage = "beam" if proposed else "cold"
      elif target in batch.history[row]["item"]:
        stage = "hidden"
      else:
        stage = "order" if may_come else "lost"
      counts[stage] += 1
  total = sum(counts.values())
  return {s: n / total for s, n in counts.items()}, np.array(places)


# Twelve IDs at most: beams of 3 x 4 codes that keep 4 are exact, as 3 first
# codes all stay.
@pytest.mark.parametrize("name", ["cobra", "liger"])
def test_stages_are_those_of_an_exact_search(name, request):
  run = request.getfixturevalue(name)
  loaded = vector_runs.loaded(run)
  evaluator = dataclasses.replace(
    run.evals["search_stages"], ks=(3, 10), grid={"num_beams": (2, 4)}
  )
  evaluator.check(run)
  section, kept = evaluator.measure(run, loaded)
  assert kept is None
  json.dumps(section, allow_nan=False)
  for k in (3, 10):
    want, places = _expected(run, loaded.params, k)
    assert section["stages"][str(k)] == pytest.approx(want), k
    assert sum(want.values()) == pytest.approx(1)
  assert want["beam"] > 0 and want["lost"] > 0
  for m, share in section["ceiling"].items():
    assert share == pytest.approx(np.mean((places > 0) & (places <= int(m))))
  assert [row["options"] for row in section["grid"]] == [
    {"num_beams": 2},
    {"num_beams": 4},
  ]
  few, many = (row["metrics"] for row in section["grid"])
  assert few["ceiling"] < many["ceiling"]
  assert few["distinct_ids@10"] <= many["distinct_ids@10"] <= 10
  text = evaluator.text(section)
  assert "4 beams" in text and "num_beams" in text
  part = page.part_of(run.workdir, section)
  assert part.body.count("<svg") == 4
  assert "Other options of the search" in part.body


def test_next_items_are_measured_as_the_strategy_finds_them(cobra):
  """One beam's items are few: what is not found is missed, and not filled."""
  loaded = vector_runs.loaded(cobra)
  one = dataclasses.replace(cobra.retrieval, num_beams=1)
  run = dataclasses.replace(cobra, retrieval=one)
  hits, places = ({"alone": 0, "filled": 0} for _ in range(2))
  for batch in iter_requests(run.histories, "test", 16):
    allowed = history_mask(batch, run.histories.manifest.num_items)
    for name in hits:
      search = run.search(loaded.params, fill=name == "filled")
      ids = search(batch, 10, allowed)[0]
      hits[name] += int((ids == batch.target[:, None]).any(axis=1).sum())
      places[name] += int((ids > 0).sum())
  evaluator = dataclasses.replace(run.evals["next_item"], ks=(10,))
  section, _ = evaluator.measure(run, loaded, baselines=False)
  measured = section["metrics"]["test"]["hr@10"] * vector_runs.USERS
  assert round(measured) == hits["alone"] != hits["filled"]
  assert places["alone"] < places["filled"]


def test_a_retriever_that_cannot_be_asked_is_refused_before_training(
  cobra, liger
):
  for run, name, said in (
    (cobra, "scann", "behind its codes"),
    (liger, "scan", "'scan' is unknown.*scann"),
  ):
    evaluator = dataclasses.replace(run.evals["next_item"], retriever=name)
    with pytest.raises(ValueError, match=said):
      evaluator.check(run)


@pytest.mark.parametrize("name", ["cobra", "liger"])
@pytest.mark.parametrize("part", ["vector_out", "backbone", "item_encoder"])
def test_what_is_no_number_is_refused(name, part, request):
  run = request.getfixturevalue(name)
  params = jax.device_get(vector_runs.loaded(run).params)
  wrong = [
    path
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
    if part in jax.tree_util.keystr(path)
  ]
  assert wrong, part
  params = jax.tree_util.tree_map_with_path(
    lambda path, x: x * np.nan if path in wrong else x, params
  )
  params = jax.device_put(params, sharding.local().replicated)
  batch = next(iter_requests(run.histories, "test", 4))
  with pytest.raises(ValueError, match="not finite.*--checkpoint"):
    run.search(params)(batch, 5, None)


def test_a_search_that_ends_on_the_host_has_the_same_stages(cobra):
  loaded = vector_runs.loaded(cobra)
  evaluator = SearchStages(ks=(5,))
  in_one, _ = evaluator.measure(cobra, loaded)
  on_host = dataclasses.replace(cobra.retrieval, clusters="index")
  other = dataclasses.replace(cobra, retrieval=on_host)
  section, _ = evaluator.measure(other, loaded)
  for name in ("stages", "ceiling", "lists", "clusters"):
    assert section[name] == in_one[name], name


def _toy():
  codes = np.array([[0, 0], [0, 0], [0, 0], [1, 1], [0, 2], [0, 0]], np.int32)
  live = np.array([False, True, True, True, True, False])
  return Trie.build(codes, (2, 3), live)


def _asked():
  """Targets 1 and 1 by a beam, 3 as cold; 2 lost by the order, 4 by the beams,
  4 cold and missed, 1 hidden."""
  trie = _toy()
  ids = np.array(
    [[4, 1], [1, 4], [3, 1], [1, 3], [1, 0], [1, 3], [2, 3]], np.int32
  )
  scores = np.array(
    [
      *([0.0, -1.0], [-1.5, -2.0], [-2.0, -3.0], [-1.0, -1.5]),
      *([-2.0, -np.inf], [-1.0, -4.0], [-1.0, -9.0]),
    ],
    np.float32,
  )
  return trie, results.Asked(
    ids,
    scores,
    results.leaves_of(trie, ids),
    np.array([1, 1, 3, 2, 4, 4, 1], np.int32),
    np.array([1, 1, 0, 3, 0, 0, 0]),
    np.array([False, False, True, False, False, True, False]),
    np.array([False] * 6 + [True]),
  )


def test_counts_of_a_few_requests():
  trie, asked = _asked()
  np.testing.assert_array_equal(asked.rank_R(), [2, 1, 1, 0, 0, 0, 0])

  def counts(k, adds_cold):
    found = results.stages(asked, k, adds_cold)
    assert tuple(found) == results.STAGES
    return [round(7 * share, 6) for share in found.values()]

  assert counts(2, True) == [2, 1, 2, 1, 1]
  assert counts(1, True) == [1, 1, 3, 1, 1]
  assert counts(2, False) == [2, 1, 1, 2, 1]
  assert results.ceiling(asked, 4) == pytest.approx(
    {"1": 2 / 7, "2": 2 / 7, "4": 3 / 7}
  )
  found = results.scores_of(asked, 2)
  assert found["hits"]["count"] == 3 and found["others"]["count"] == 10
  assert sum(found["others"]["bins"]) == 10
  assert found["hits"]["quantiles"][2] == -1.5
  shown = results.lists(asked, 2, trie)
  # Items 1 and 2 share an ID: one list has a place less, and all others two.
  assert shown["distinct_ids"] == pytest.approx(13 / 7)
  assert shown["distinct_ids_of_all"] == 3
  assert shown["filled"] == pytest.approx(13 / 14)
  assert shown["coverage"] == pytest.approx(4 / 5)
  # One item in a hundred is one of five: item 1 with 6 of 13 places.
  assert shown["top_1_percent"] == pytest.approx(6 / 13)


def test_clusters_and_leaves():
  trie = _toy()
  assert results.leaves_of(trie, np.array([0, 1, 2, 3, 4, 5])).tolist() == [
    *(0, 1, 1, 3, 2, 0)
  ]
  sizes = results.cluster_sizes(trie)
  assert (sizes["ids"], sizes["possible"], sizes["items"]) == (3, 6, 4)
  assert sizes["largest"] == 2 and sizes["mean"] == pytest.approx(4 / 3)
  assert sizes["bins"] == [
    {"from": 1, "to": 1, "ids": 2, "items": 2},
    {"from": 2, "to": 3, "ids": 1, "items": 2},
  ]


def test_a_grid_is_every_combination_of_known_options():
  rows = searches(BeamFusion(), {"num_beams": [5, 10], "beam_scale": [0.5]})
  assert [row for row, _ in rows] == [
    {"num_beams": 5, "beam_scale": 0.5},
    {"num_beams": 10, "beam_scale": 0.5},
  ]
  assert rows[1][1] == BeamFusion(num_beams=10, beam_scale=0.5)
  assert searches(BeamFusion(), {}) == []
  for grid, said in (
    ({"num_beam": (5,)}, "Did you mean 'num_beams'"),
    ({"num_results": (5,)}, "has no 'num_results'"),
    ({"num_beams": 5}, "must be a list"),
    ({"num_beams": (0,)}, "num_beams=0 must be at least 1"),
    ({"num_beams": tuple(range(1, 300))}, "more than 200"),
  ):
    with pytest.raises(ValueError, match=said):
      searches(BeamFusion(), grid)


def test_options_of_a_command_that_cannot_be_are_refused():
  evals = {"stages": SearchStages()}
  for option, said in (
    ("users=0", "users=0 must be at least 1"),
    ("grid_users=-1", "grid_users=-1 must be at least 1"),
    ("grid=[10]", r"stages\.grid must be values by name.* got \(10,\)"),
    ("grid=num_beams", "stages.grid must be values by name.*'num_beams'"),
    ("ks=[]", "must be cut-offs"),
  ):
    with pytest.raises(ValueError, match=said):
      with_options(evals, [f"stages.{option}"])


def test_a_run_without_stages_is_refused(cobra):
  bare = dataclasses.replace(cobra, retrieval=None)
  with pytest.raises(ValueError, match="config.retrieval is empty"):
    SearchStages().check(bare)
  exact = dataclasses.replace(cobra, retrieval=Exact(20))
  with pytest.raises(ValueError, match="lacks .*num_beams.*Proposing"):
    SearchStages().check(exact)
  with pytest.raises(ValueError, match="need 12"):
    SearchStages(ks=(12,)).check(cobra)
