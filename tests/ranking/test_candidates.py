# SPDX-License-Identifier: Apache-2.0
"""Micro-batches put candidates back in order; bad requests say why.

That their scores are those of whole rows: tests/systems/test_action_ranker.py.
"""

import numpy as np
import pytest

from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.layouts.actions import ActionOriented
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.splits import GlobalTime
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.serving.ranker import Ranker
from tests.data.layouts.requests_by_hand import (
  FEEDBACK,
  NUM_ITEMS,
  bound,
  user_record,
)


def _item_logits(batch):
  """A model whose logits are an item's number and its half."""
  item_BN = batch["item_BL"].astype(np.float32)
  return np.stack([item_BN, item_BN / 2], axis=-1) / 10


def _scorer(micro_batch, keeps=True):
  seen = []

  def start(batch):
    seen.append(batch["item_BL"][0].tolist())
    return len(seen)

  def candidates(kept, batch):
    assert kept == len(seen) and batch["item_BL"].shape == (1, micro_batch)
    return _item_logits(batch)

  def score(batch):
    seen.append(batch["candidate_BN"][0].tolist())
    return _item_logits(batch)[:, -batch["candidate_BN"].shape[1] :]

  layout = bound(ActionOriented(FEEDBACK, 8, num_candidates=2))
  scorer = CandidateScorer(
    layout,
    score,
    start if keeps else None,
    candidates if keeps else None,
    micro_batch,
  )
  return scorer, seen


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5, 8])
def test_any_number_of_candidates_comes_back_in_order(keeps, micro_batch):
  scorer, seen = _scorer(micro_batch, keeps)
  items = np.array([4, 9, 4, 12, 1], np.int32)
  request = asked_about(user_record(), items, 50, NUM_ITEMS)
  found = scorer.score(request)
  logits = np.stack([items / 10, items / 20], axis=1)
  np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-5)
  if keeps:
    # The history is computed once, and is the events alone.
    assert seen == [[1, 2, 3, 4, 5, 6, 7, 8]]
  else:
    assert len(seen) == -(-5 // micro_batch)


def test_a_user_without_history_is_asked_about_too():
  scorer, seen = _scorer(2)
  record = {k: v[:0] for k, v in user_record().items() if k != "user"}
  record["user"] = np.array(-1, np.int32)
  request = asked_about(record, np.array([3], np.int32), -5, NUM_ITEMS)
  assert scorer.score(request).shape == (1, 2)
  assert seen == [[0] * 8]


@pytest.mark.parametrize(
  ("items", "time", "message"),
  [
    ([], 50, "no candidates"),
    ([3, 0], 50, "candidate 0 is not in the catalogue: .* 1 to 12"),
    ([13], 50, "candidate 13 is not in the catalogue"),
    ([3], 39, r"query_time=39 lies 1 s before the last event .*\(40\)"),
  ],
)
def test_requests_that_cannot_be_asked(items, time, message):
  with pytest.raises(ValueError, match=message):
    asked_about(user_record(), np.array(items, np.int32), time, NUM_ITEMS)


def test_systems_without_scores_and_batches_without_places():
  with pytest.raises(ValueError, match="micro_batch=0 must be at least 1"):
    _scorer(0)
  with pytest.raises(ValueError, match="lacks score, which ScoreModel"):
    CandidateScorer.of(object(), {}, None)


def _ranker(tmp_path):
  data = Synthetic(num_users=20, num_items=30, seed=0)
  prepare(data, GlobalTime(), tmp_path / "data")
  return Ranker(_scorer(2)[0], FEEDBACK.tasks, Histories(tmp_path / "data"))


def test_a_ranker_speaks_of_ids_and_unix_seconds(tmp_path):
  ranker = _ranker(tmp_path)
  ids = ranker.catalog.ids
  user = ranker.users.ids[2]
  table = ranker.rank([ids[5], ids[9], ids[2]], user, weights="like=-1")
  assert table["item_id"].to_list() == [ids[2], ids[5], ids[9]]
  assert table.columns == ["item_id", "title", "value", "click", "like"]
  np.testing.assert_allclose(table["value"], -table["like"])
  assert len(ranker.rank([ids[5]])) == 1
  # Whatever holds ids is a list of them.
  for some in (table["item_id"], np.array(ids[5:7]), (ids[5],)):
    assert len(ranker.rank(some, user)) == len(some)
  record = ranker.record(user)
  epoch = ranker.histories.manifest.epoch_seconds
  last = int(record["time"][-1]) + epoch
  assert len(ranker.rank([ids[5]], user, request_time=last)) == 1
  for arguments, options, message in (
    (
      ([ids[5]], user),
      {"request_time": last - 1},
      f"request_time={last - 1} lies 1 s before the last event .*{last}",
    ),
    (([ids[5]], user), {"request_time": 10**12}, "68 years"),
    (([ids[5] + "x"], user), {}, "no item"),
    (([ids[5]], "nobody"), {"strict": True}, "no user 'nobody'"),
    ((ids[5], user), {}, "must be a list of item ids"),
    ((5, user), {}, "candidates=5 must be a list of item ids"),
    (([ids[5]], user), {"request_time": "now"}, "'now' must be a whole"),
    (([ids[5]], [user]), {}, "must be one id"),
    (([], user), {}, "no candidates"),
  ):
    with pytest.raises(ValueError, match=message):
      ranker.rank(*arguments, **options)
