# SPDX-License-Identifier: Apache-2.0
"""Baselines and oracle: which there are, and what is said where one is not."""

import numpy as np
import polars as pl

from genrec_jax.data import schema
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.evaluation import next_item_results
from genrec_jax.evaluation.next_item_measurement import baseline_searches
from genrec_jax.experiment.artifacts import KINDS, Artifacts
from genrec_jax.experiment.experiment import Run


def _baselines(directory, **filters):
  source = Synthetic(num_users=40, num_items=40, mean_events=12.0)
  prepare(source, LeaveOneOut(), directory, **filters)
  # Only these fields are read: a model has no place in this test.
  run = object.__new__(Run)
  histories = Histories(directory)
  sections = {kind.section: {} for kind in KINDS.values()}
  for name, value in (
    ("histories", histories),
    ("artifacts", Artifacts.of(sections, directory.parent, histories)),
    ("config", {"seed": 0}),
  ):
    object.__setattr__(run, name, value)
  return baseline_searches(run, filter_history=True)


def test_filtered_simulated_data_has_no_oracle_and_a_note(tmp_path):
  found, notes = _baselines(tmp_path / "data", min_item_events=20)
  assert set(found) == {"most_popular", "item_knn"}
  (note,) = [n for n in notes if n.startswith("no oracle: ")]
  assert "whole histories" in note


def test_whole_simulated_data_has_an_oracle(tmp_path):
  found, notes = _baselines(
    tmp_path / "data", min_item_events=1, min_user_events=1
  )
  assert set(found) == {"most_popular", "item_knn", "oracle"}
  assert not [n for n in notes if n.startswith("no oracle")]


class _Shop:
  """Two users; the last event of the second is two actions at once."""

  def __init__(self, *hidden):
    self.hidden = hidden

  def read(self):
    actions = ["view", "cart", "view", "", "untimed", "view | cart"]
    return schema.RawLog(
      events=pl.DataFrame(
        {
          "user": [1, 1, 1, 2, 2, 2],
          "item": [1, 2, 3, 1, 2, 3],
          "timestamp": list(range(6)),
          "action": actions,
        }
      ).drop(self.hidden)
    )

  def checksums(self):
    return {}


def test_targets_have_the_actions_of_their_events(tmp_path):
  prepare(_Shop(), LeaveOneOut(), tmp_path / "data", min_item_events=1)
  histories = Histories(tmp_path / "data")
  users, events = np.array([0, 1, 1, 1]), np.array([1, 0, 1, 2])
  index, done = next_item_results.target_actions(histories, users, events)
  assert [list(done[i]) for i in index] == [["cart"], [], [], ["cart", "view"]]


def test_targets_without_actions_have_none(tmp_path):
  source = _Shop("action")
  prepare(source, LeaveOneOut(), tmp_path / "data", min_item_events=1)
  histories = Histories(tmp_path / "data")
  none = np.zeros(0, np.int32)
  assert next_item_results.target_actions(histories, none, none) is None
