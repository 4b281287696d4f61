# SPDX-License-Identifier: Apache-2.0
"""A model that does both is measured in both ways, and by their mean."""

import dataclasses

import jax
import pytest

from configs import hstu_joint_movielens, hstu_movielens
from genrec_jax.core import sharding
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.evaluation.joint_validation import RetrievalAndRanking
from genrec_jax.evaluation.shown_items import ImpressionRanking
from genrec_jax.evaluation.validation import FullRanking
from genrec_jax.experiment.experiment import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  config = hstu_joint_movielens.get_config("quicktest")
  config.data.num_users = 40
  return Run.start(config, tmp_path_factory.mktemp("joint"))


def test_both_kinds_of_metrics_and_the_mean_of_two(run):
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  found = run.validate(params)
  # Leaving one out leaves one label a user, of which no user has an AUC.
  assert set(run.validator.names) - set(found) == {"gauc", "gauc/cart"}
  assert found["mean"] == pytest.approx((found["ndcg@10"] + found["auc"]) / 2)
  run.validator.check(run)
  steps = ("train", "query", "items", "retrieve", "score")
  assert run.program().steps == steps
  assert run.eval.ks == run.validator.ks == (1, 5, 10, 50, 200)


def test_a_mean_needs_all_that_it_is_of(run, monkeypatch):
  found = {"ndcg@10": 0.1, "hr@10": 0.2}, {"auc": 0.7}
  monkeypatch.setattr(FullRanking, "__call__", lambda *_: found[0])
  monkeypatch.setattr(ImpressionRanking, "__call__", lambda *_: found[1])
  validator = run.validator
  expected = {**found[0], **found[1], "mean": 0.4}
  assert validator(run, None, None) == pytest.approx(expected)
  of_three = dataclasses.replace(validator, mean_of=("auc", "hr@10", "gauc"))
  assert "mean" not in of_three(run, None, None)


def test_what_cannot_be_measured_is_refused(run, tmp_path):
  validator = run.validator
  with pytest.raises(ValueError, match="mean_of=.*must name validation"):
    RetrievalAndRanking(Feedback(("cart",)), mean_of=("ndcg@11", "auc"))
  words = "quicktest-ranking_only"
  ranker = Run.start(hstu_joint_movielens.get_config(words), tmp_path / "a")
  with pytest.raises(ValueError, match="for systems that retrieve too"):
    validator.check(ranker)
  finder = Run.start(hstu_movielens.get_config("quicktest"), tmp_path / "b")
  with pytest.raises(ValueError, match="and systems.next_item"):
    validator.check(finder)
