# SPDX-License-Identifier: Apache-2.0
"""What is measured is a dict: each evaluator is asked, checked and watched."""

import dataclasses

import jax
import pytest

from configs import hstu_joint_movielens, hstu_movielens
from genrec_jax.core import seams, sharding
from genrec_jax.experiment.experiment import Run
from tests.evaluation import toy_ranker as toy


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  config = hstu_joint_movielens.get_config("quicktest")
  config.data.num_users = 40
  return Run.start(config, tmp_path_factory.mktemp("joint"))


def _names(run):
  return {name for e in run.evals.values() for name in e.names}


@pytest.mark.slow
def test_all_evaluators_are_asked_and_one_may_be_watched_with_another(run):
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  found = run.validate(params)
  # Leaving one out leaves one label a user, of which no user has an AUC.
  assert _names(run) - set(found) == {"gauc", "gauc/cart"}
  assert run.train.monitors == ("ndcg@10", "auc")
  run.check_evals()
  steps = ("train", "query", "items", "retrieve", "score")
  assert run.program().steps == steps


def test_what_is_watched_must_be_measured_and_defined(run, tmp_path):
  train = dataclasses.replace(run.train, monitor="ndcg@10+gauc")
  with pytest.raises(ValueError, match="'gauc' is not defined"):
    dataclasses.replace(run, train=train).check_evals()
  config = hstu_joint_movielens.get_config("quicktest")
  config.train.monitor = "ndcg@11+auc"
  with pytest.raises(ValueError, match="'ndcg@11' is no validation metric"):
    Run.start(config, tmp_path / "a")


def test_a_model_that_cannot_answer_is_told_which_method_it_lacks(
  run, tmp_path
):
  finder = Run.start(hstu_movielens.get_config("quicktest"), tmp_path / "b")
  shown = run.evals["shown_items"]
  with pytest.raises(ValueError, match=r"\(NextItem\) lacks score, which Sco"):
    shown.check(finder)
  blind = dataclasses.replace(run, system=toy.Blind())
  with pytest.raises(ValueError, match="lacks query, items, which QueryModel"):
    blind.evals["next_item"].check(blind)


def test_two_evaluators_of_one_metric_and_an_object_that_is_none_are_refused(
  tmp_path,
):
  config = hstu_movielens.get_config("quicktest")
  config.evals.again = config.evals.next_item
  with pytest.raises(ValueError, match="both measure .hr@1.: training could"):
    Run.start(config, tmp_path / "a")
  config = hstu_movielens.get_config("quicktest")
  config.evals.next_item = {"name": "data.LeaveOneOut"}
  with pytest.raises(ValueError, match="lacks file, names, check, validate"):
    Run.start(config, tmp_path / "b")
  config.evals.next_item = {"name": "evaluation.NextItm"}
  with pytest.raises(ValueError, match="Did you mean 'NextItem'"):
    Run.start(config, tmp_path / "c")


@pytest.mark.parametrize("name", ["NextItem", "BeyondAccuracy", "Decoding"])
@pytest.mark.parametrize(
  "ks", [[-1], ["a"], 3, [2.5], [], [0, 10], [10, 10], [5, 1], [True], None]
)
def test_cut_offs_are_named_where_they_are_none(tmp_path, name, ks):
  config = hstu_movielens.get_config("quicktest")
  config.evals = {"mine": {"name": f"evaluation.{name}", "ks": ks}}
  with pytest.raises(ValueError, match=r"config.evals.mine.ks must be cut-off"):
    Run.start(config, tmp_path / "a")


def test_options_of_another_kind_are_refused(tmp_path):
  config = hstu_movielens.get_config("quicktest")
  config.evals.next_item = {
    **config.evals.next_item.to_dict(), "filter_history": "no"
  }  # fmt: skip
  with pytest.raises(ValueError, match="next_item.filter_history must be True"):
    Run.start(config, tmp_path / "a")


def test_members_of_a_protocol_are_what_is_asked_for():
  assert seams.members(seams.QueryModel) == ("query", "items")
  assert seams.offers(object(), seams.QueryModel) is False
