# SPDX-License-Identifier: Apache-2.0
"""A ranker's measurement: baselines by hand, its document, pairs of runs."""

import dataclasses
import json

import jax
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from genrec_jax.data import schema
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.splits import GlobalTime
from genrec_jax.evaluation import shown_items_results as shown_items_results
from genrec_jax.evaluation.document import write_json
from genrec_jax.evaluation.scored import task_metrics
from genrec_jax.evaluation.scores import Scores, compare
from genrec_jax.evaluation.shown_items_measurement import (
  Counts,
  flops_per_request,
  measure_impressions,
)
from tests.evaluation import toy_ranker as toy

_FEEDBACK = Feedback(("click", "never"))
_USERS, _ITEMS, _EACH = 40, 12, 15


class _Log:
  """Items that are clicked more the higher their number; nobody likes."""

  def read(self):
    rng = np.random.default_rng(0)
    count = _USERS * _EACH
    item = rng.integers(_ITEMS, size=count)
    click = rng.random(count) < (item + 1) / (_ITEMS + 2)
    action = np.where(click, "click", "skip").astype(object)
    # Known from a list without times alone: no impression's label.
    action[:_USERS] = "never|untimed"
    return schema.RawLog(
      events=pl.DataFrame(
        {
          "user": np.tile(np.arange(_USERS), _EACH),
          "item": item,
          "timestamp": 1_600_000_000 + np.arange(count),
          "action": action.tolist(),
        }
      )
    )

  def checksums(self):
    return {}


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  directory = tmp_path_factory.mktemp("shown") / "data"
  prepare(_Log(), GlobalTime(), directory)
  return Histories(directory)


@pytest.fixture(scope="module")
def run(histories):
  return toy.toy_run(histories, _FEEDBACK, num_candidates=2)


@pytest.fixture(scope="module")
def measured(run):
  rng = np.random.default_rng(1)
  table = rng.normal(size=(run.histories.manifest.num_items + 1, 2))
  return measure_impressions(run, toy.params_of(table))


def test_counts_are_those_of_labelled_training_impressions(histories):
  counts = Counts.of(histories, _FEEDBACK)
  item, clicked = [], []
  names = histories.manifest.actions
  for user in range(len(histories)):
    record = histories[user]
    for e in range(histories.split.train_end(record)):
      if "untimed" not in names[record["action"][e]]:
        item.append(record["item"][e])
        clicked.append(names[record["action"][e]] == "click")
  item, clicked = np.array(item), np.array(clicked)
  for index in range(1, _ITEMS + 1):
    assert counts.item_V1[index] == (item == index).sum()
    assert counts.item_V1T[index].tolist() == [clicked[item == index].sum(), 0]
  assert counts.user_U.sum() == counts.item_V1.sum() == len(item)
  assert counts.base_rate_T[0] == pytest.approx(clicked.mean(), abs=0.01)
  assert 0 < counts.base_rate_T[1] < 0.01


def test_baselines_are_rates_of_training(measured):
  by_name = measured.scored["test"]
  assert measured.baselines == ("base_rate", "item_rate", "user_rate")
  assert np.ptp(by_name["base_rate"].logits_RT, axis=0).tolist() == [0, 0]
  metrics = shown_items_results.metrics_of(by_name["item_rate"], measured.tasks)
  # By construction the item says nearly all that can be said.
  assert metrics["click"]["auc"] > 0.65
  assert metrics["click"]["ne"] < 0.97
  base = shown_items_results.metrics_of(by_name["base_rate"], measured.tasks)
  assert base["click"]["auc"] == 0.5
  assert base["click"]["ne"] == pytest.approx(1, abs=0.02)
  # A task without a positive says so.
  for name in ("auc", "gauc", "ne", "calibration"):
    assert base["never"][name] is None
  # One rate per item, pulled towards the base by the chosen strength.
  rate = by_name["item_rate"]
  for index in np.unique(rate.items_R):
    assert len(np.unique(rate.logits_RT[rate.items_R == index, 0])) == 1
  assert len(measured.notes) == 2


@pytest.fixture(scope="module")
def document(run, measured):
  scores = Scores.of(run.histories.manifest.fingerprint, measured)
  about = {"title": "Item bias", "parameters": 1234}
  return about | shown_items_results.section(run, measured, scores)


def test_the_document_is_json_and_its_numbers_are_the_scores(
  document, measured, tmp_path
):
  write_json(tmp_path / "evaluation.json", document)
  read = json.loads((tmp_path / "evaluation.json").read_text())
  assert read["tasks"] == ["click", "never"]
  scored = measured.scored["test"]["model"]
  positive, logits = scored.positive(0), scored.logits_RT[:, 0]
  found = read["metrics"]["test"]["click"]
  assert found["auc"] == pytest.approx(roc_auc_score(positive, logits))
  p = 1 / (1 + np.exp(-logits.astype(float)))
  assert found["log_loss"] == pytest.approx(log_loss(positive, p))
  low, high = read["intervals"]["test"]["click"]["auc"]
  assert low < found["auc"] < high
  assert read["metrics"]["test"]["never"]["auc"] is None
  assert "auc" not in read["intervals"]["test"]["never"]
  difference, low, high = read["versus"]["item_rate"]["test"]["click"]["auc"]
  baseline = read["baselines"]["item_rate"]["test"]["click"]["auc"]
  assert difference == pytest.approx(found["auc"] - baseline)
  assert high < 0
  for slices in read["slices"]["test"].values():
    total = sum(s["impressions"] for s in slices.values())
    assert total == read["num_impressions"]["test"] == len(positive)
  text = shown_items_results.table(read)
  assert "undefined" in text and f"{found['auc']:.4f}" in text
  assert "item_rate" in text
  share = 100 * (1 - found["one_class_impressions"])
  assert 0 < share < 100
  assert f"gauc of {share:.1f} % of the impressions" in text
  assert "gauc of 0.0 %" in text


@dataclasses.dataclass(frozen=True)
class _Clicks(toy.ItemsAlone):
  """How often the user clicked until now."""

  actions: tuple[str, ...] = ()

  def impression_batch(self, impressions):
    bound = self.feedback.bind(list(self.actions))
    clicks = [
      (bound.bits(record) & 1).sum() if len(record["item"]) else 0
      for record in impressions.history
    ]
    shape = impressions.candidates.shape
    return {"item_BN": np.broadcast_to(np.array(clicks)[:, None], shape)}


def test_within_users_a_running_count_is_behind_chance_a_frozen_one_is_not(run):
  """Why GAUC is measured behind frozen histories too."""
  actions = run.histories.manifest.actions
  layout = _Clicks(_FEEDBACK, num_candidates=1, actions=tuple(actions))
  counting = dataclasses.replace(
    run, pipeline=dataclasses.replace(run.pipeline, layout=layout)
  )
  more_is_higher = np.arange(_ITEMS + 1.0)[:, None] * [1, 1]
  found = measure_impressions(
    counting, toy.params_of(more_is_higher), with_baselines=False
  ).scored["test"]
  gauc = {k: task_metrics(s, 0)["gauc"] for k, s in found.items()}
  assert gauc["model_frozen"] == pytest.approx(0.5)
  assert gauc["model"] < 0.45


class _Mixed(toy.ItemBias):
  """Tasks mixed by a matrix, so that there is a product."""

  def score(self, batch):
    return super().score(batch) @ self.table[:2]


def test_flops_are_those_of_the_items_that_are_asked_about(histories, document):
  # A table of scores multiplies nothing.
  assert document["flops_per_request"] == [0, 0]
  mixed = toy.toy_run(
    histories,
    _FEEDBACK,
    num_candidates=3,
    batch_size=jax.device_count(),
    system=_Mixed(histories.manifest.num_items, 2),
  )
  # Two per multiply-add of an item by a matrix of 2 x 2; a row has room for
  # three, which costs a service nothing.
  assert flops_per_request(mixed) == (2 * 2 * 2, 2 * 2 * 2 * 2)


def test_a_history_costs_once_however_many_items_are_asked_about(measured):
  requests = measured.scored["test"]["model"].num_requests
  size = len(measured.scored["test"]["model"].users_R) / requests
  assert size >= 1
  costs = dataclasses.replace(measured, flops_per_request=(105.0, 110.0))
  expected = (100 + 5 * size) / size
  assert costs.flops_per_impression("test") == pytest.approx(expected)


def test_scores_are_read_back_and_paired_in_any_order(run, measured, tmp_path):
  scores = Scores.of(run.histories.manifest.fingerprint, measured)
  scores.save(tmp_path / "scores.npz")
  loaded = Scores.load(tmp_path / "scores.npz")
  assert loaded.tasks == scores.tasks and loaded.parts == scores.parts
  order = np.random.default_rng(0).permutation(
    len(scores.columns["test/users"])
  )
  shuffled = dataclasses.replace(
    loaded,
    columns={
      n: c[order] if n.startswith("test/") else c
      for n, c in loaded.columns.items()
    },
  )
  same = compare(scores, shuffled, "test", "model", "model")["click"]["auc"]
  assert (same.mean, same.low, same.high) == (0, 0, 0)
  other = compare(scores, shuffled, "test", "item_rate", "model")["click"]
  assert other["auc"].low > 0
  text = shown_items_results.comparison_table(
    {
      "config": "a",
      "seed": 0,
      "differences": {
        "test": shown_items_results.differences(scores, shuffled, "test")
      },
    }
  )
  assert "+0.0000" in text and "one seed each: no verdict" in text


def test_what_cannot_be_compared_is_refused(run, measured, tmp_path):
  scores = Scores.of(run.histories.manifest.fingerprint, measured)
  with pytest.raises(ValueError, match="run genrec evaluate"):
    Scores.load(tmp_path / "scores.npz")
  for change, message in (
    ({"fingerprint": "x"}, "different prepared data"),
    ({"tasks": ("a", "b")}, "no task in common"),
    (
      {"columns": {n: c[:5] for n, c in scores.columns.items()}},
      "differ in test/users",
    ),
  ):
    with pytest.raises(ValueError, match=message):
      other = dataclasses.replace(scores, **change)
      compare(scores, other, "test", "model", "model")
  with pytest.raises(
    ValueError, match="no scores of 'best'.*model_frozen, base_"
  ):
    compare(scores, scores, "test", "best", "model")
