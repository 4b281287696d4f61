# SPDX-License-Identifier: Apache-2.0
"""Scoring shown items: equal to a table's own, whatever batches hold."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.splits import GlobalTime
from genrec_jax.evaluation.scored import score_all, scorer
from genrec_jax.evaluation.shown_items import ShownItems
from genrec_jax.serving.recommender import Recommender
from genrec_jax.tpu.compile import steps_of
from tests.evaluation import toy_ranker as toy

_FEEDBACK = Feedback(("cart", "purchase"))


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  directory = tmp_path_factory.mktemp("toy") / "data"
  source = Synthetic(num_users=40, num_items=30, mean_events=12.0)
  prepare(source, GlobalTime(), directory)
  return Histories(directory)


def _table(histories, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(histories.manifest.num_items + 1, 2))


_SHOWN = ShownItems(_FEEDBACK)


def test_scores_are_the_tables_in_order_and_padding_is_gone(histories):
  run = toy.toy_run(histories, _FEEDBACK)
  table = _table(histories)
  params = toy.params_of(table)
  scored = score_all(scorer(run, params), _SHOWN._impressions(run))
  expected = table[scored.items_R].astype(np.float32)
  np.testing.assert_array_equal(scored.logits_RT, expected)
  targets = 0
  for user in range(len(histories)):
    record = histories[user]
    events = histories.split.targets(record, "validation")
    mine = scored.users_R == user
    assert sorted(scored.events_R[mine]) == events.tolist()
    bits = np.array([0, 0b00, 0b01, 0b10])  # "", view, cart, purchase
    names = ["", "view", "cart", "purchase"]
    assert histories.manifest.actions == names
    np.testing.assert_array_equal(
      scored.labels_R[mine], bits[record["action"][scored.events_R[mine]]]
    )
    targets += len(events)
  assert len(scored.users_R) == targets
  auc = roc_auc_score(scored.positive(0), scored.logits_RT[:, 0])
  found = _SHOWN.validate(run, params, None)
  assert found["auc/cart"] == pytest.approx(auc)
  assert found["auc"] == pytest.approx(
    (found["auc/cart"] + found["auc/purchase"]) / 2
  )
  assert set(found) == set(_SHOWN.names)
  assert found["negative_ne/cart"] < 0


@pytest.mark.parametrize(("candidates", "batch"), [(1, 3), (5, 2)])
def test_the_shape_of_batches_has_no_say(histories, candidates, batch):
  params = toy.params_of(_table(histories))
  run = toy.toy_run(histories, _FEEDBACK)
  expected = _SHOWN.validate(run, params, None)
  other = toy.toy_run(
    histories, _FEEDBACK, num_candidates=candidates, batch_size=batch
  )
  found = _SHOWN.validate(other, params, None)
  assert found == pytest.approx(expected)


def test_a_program_that_scores_has_that_step_and_its_shapes(histories):
  program = toy.toy_run(histories, _FEEDBACK).program()
  assert program.steps == ("train", "score")
  train, score = steps_of(program)
  with program.in_force():
    logits = jax.eval_shape(score.function, *score.arguments)
    _, metrics = jax.eval_shape(train.function, *train.arguments)
  assert (logits.shape, logits.dtype) == ((4, 3, 2), jnp.float32)
  assert set(metrics["parts"]) == {"cart", "purchase"}


def test_what_cannot_be_watched_is_refused_before_training(histories):
  run = toy.toy_run(histories, _FEEDBACK)
  _SHOWN.check(run, ("auc",))
  other = dataclasses.replace(_SHOWN, feedback=Feedback(("cart",)))
  with pytest.raises(ValueError, match="make them the same"):
    other.check(run)
  # Nobody has a value of 10^9: there is no positive, and so no AUC.
  rare = Feedback(("dear",), min_value=1e9)
  run = toy.toy_run(histories, rare, monitor="auc/dear")
  with pytest.raises(ValueError, match="'auc/dear' is not defined on"):
    ShownItems(rare).check(run, ("auc/dear",))
  params = toy.params_of(np.zeros((histories.manifest.num_items + 1, 1)))
  assert ShownItems(rare).validate(run, params, None) == {}
  run = toy.toy_run(histories, _FEEDBACK, system=toy.Blind())
  with pytest.raises(ValueError, match="lacks score, which ScoreModel asks"):
    _SHOWN.check(run)


def test_weights_of_the_value_are_checked_before_training(histories):
  run = toy.toy_run(histories, _FEEDBACK)
  run.config["value"] = {"cart": 1.0, "purchase": -2.0}
  _SHOWN.check(run)
  run.config["value"] = {"cat": 1.0}
  with pytest.raises(
    ValueError, match="predicts no 'cat'. Did you mean 'cart'"
  ):
    _SHOWN.check(run)


def test_a_ranker_recommends_nothing_by_itself(histories):
  run = toy.toy_run(histories, _FEEDBACK)
  with pytest.raises(ValueError, match="lacks query, which QueryModel"):
    Recommender.of_run(run, toy.params_of(_table(histories)))


def test_scores_that_diverged_or_have_another_shape_are_errors(histories):
  run = toy.toy_run(histories, _FEEDBACK)
  table = _table(histories)
  table[:] = np.nan
  with pytest.raises(ValueError, match="are not finite"):
    _SHOWN.validate(run, toy.params_of(table), None)
  with pytest.raises(ValueError, match="score returned"):
    score_all(
      lambda batch: np.zeros((len(batch), 1, 2), np.float32),
      _SHOWN._impressions(run),
    )
  with pytest.raises(ValueError, match="no impressions to score"):
    score_all(lambda batch: batch, iter(()))
