# SPDX-License-Identifier: Apache-2.0
"""The evaluator's figures are those of the lists that the search returns."""

import dataclasses

import jax
import numpy as np
import polars as pl
import pytest

from configs import hstu_movielens
from genrec_jax.core import sharding
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation.beyond_accuracy import (
  BeyondAccuracy,
  categories,
  training_counts,
)
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from tests.evaluation import toy_ranker as toy


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  config = hstu_movielens.get_config("quicktest")
  config.data.num_users = 40
  options = {"name": "evaluation.BeyondAccuracy", "ks": (5,)}
  config.evals.beyond = options | {"attribute": "category"}
  return Run.start(config, tmp_path_factory.mktemp("beyond"))


@pytest.fixture(scope="module")
def loaded(run):
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  return Loaded(params, "best", 0, {"seconds": 1.0})


@pytest.fixture(scope="module")
def section(run, loaded):
  found, kept = run.evals["beyond"].measure(run, loaded)
  assert kept is None
  return found


@pytest.mark.slow
def test_figures_are_those_of_the_lists(run, loaded, section):
  search = run.search(loaded.params, run.index(loaded.params))
  num_items, lists, targets = run.histories.manifest.num_items, [], []
  for batch in iter_requests(run.histories, "test", 64):
    lists.append(
      np.asarray(search(batch, 5, history_mask(batch, num_items))[0])
    )
    targets.append(batch.target)
  lists_RK, target_R = np.concatenate(lists), np.concatenate(targets)
  found = section["metrics"]["model"]
  recall = (lists_RK == target_R[:, None]).any(axis=1).mean()
  assert found["recall@5"] == pytest.approx(recall)
  assert found["coverage@5"] == len(np.unique(lists_RK)) / num_items
  counts = run.catalog.count[lists_RK].mean()
  assert found["arp@5"] == pytest.approx(counts)
  assert section["counted"]["model"]["lists"] == len(target_R) == 40
  # Everybody is shown nearly the same: that is what the baseline is for.
  popular = section["metrics"]["most_popular"]
  assert popular["coverage@5"] < found["coverage@5"]
  assert popular["arp@5"] > found["arp@5"]
  assert popular["miuf@5"] < found["miuf@5"]
  shares = section["slices"]["model"]["item_popularity"].values()
  assert sum(s["share_of_places@5"] for s in shares) == pytest.approx(1)


def test_counts_are_of_the_training_part_alone(run):
  counts = training_counts(run.histories)
  np.testing.assert_array_equal(counts.events_V1, run.catalog.count)
  assert counts.num_users == 40


def test_categories_are_the_attributes_values(run):
  table = categories(run.catalog, "category")
  values = run.catalog.attributes["category"].to_list()
  same = np.array([a == b for a in values for b in values])
  alike = (table[1:] @ table[1:].T > 0).ravel()
  known = np.repeat(table[1:].any(axis=1), len(values))
  np.testing.assert_array_equal(alike, same & known)
  assert not table[0].any()


def test_what_is_missing_is_no_category():
  values = {
    "kinds": [["a", None], ["a"], ["b", ""], ["b"], [""], None, ["c"]],
    "size": [1.0, 1.0, float("nan"), float("nan"), None, 2.0, 2.0],
  }
  table = object.__new__(Catalog)
  table.attributes = pl.DataFrame(values)
  a, b, none = [1, 0], [0, 1], [0, 0]
  np.testing.assert_array_equal(
    categories(table, "kinds"), [none, a, a, b, b, none, none, none]
  )
  np.testing.assert_array_equal(
    categories(table, "size"), [none, a, a, none, none, none, b, b]
  )


def test_the_text_and_the_notes_say_what_was_measured(run, section):
  evaluator = run.evals["beyond"]
  text = evaluator.text(section)
  assert "recall@5" in text and "most_popular" in text and "oracle" in text
  assert "diversity on the attribute 'category'" in text
  assert evaluator.names == () and evaluator.validate(run, None, None) == {}


def test_what_cannot_be_measured_is_refused(run):
  wrong = BeyondAccuracy(attribute="categry")
  with pytest.raises(ValueError, match="Did you mean 'category'") as error:
    wrong.check(run)
  # The table's own numbers are no attribute.
  assert "index" not in str(error.value)
  blind = dataclasses.replace(run, system=toy.Blind())
  with pytest.raises(ValueError, match="lacks query, items"):
    run.evals["beyond"].check(blind)
