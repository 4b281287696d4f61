# SPDX-License-Identifier: Apache-2.0
"""Every family of rankers answers behind a history that is given.

With first parameters, which tell events and their order apart as well.
"""

import importlib

import numpy as np
import pytest

from genrec_jax.experiment.experiment import Run
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.serving.ranker import Ranker

_SEQUENCES = ("genrank_kuairand",)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name", ["din_kuairand", "longer_kuairand", *_SEQUENCES]
)
def test_a_history_given_scores_like_the_stored_one(tmp_path, name):
  config = importlib.import_module(f"configs.{name}").get_config("quicktest")
  run = Run.start(config, tmp_path)
  layout = run.pipeline.layout
  scorer = CandidateScorer.of(run.system, run.init_params(), layout, 8)
  ranker = Ranker(scorer, layout.feedback.tasks, run.histories)
  user, ids = ranker.users.ids[3], ranker.catalog.ids[1:9]
  stored = ranker.rank(ids, user)
  history = ranker.history(user)
  assert ranker.rank(ids, user, history=history).equals(stored)
  told = ranker.rank(ids, history=history)
  assert np.isfinite(told["value"].to_numpy()).all()
  # What came of the events is read, and for sequences their order.
  silent = history.with_columns(action=history["action"].clear(len(history)))
  assert not ranker.rank(ids, history=silent).equals(told)
  other = history.with_columns(item_id=history["item_id"].reverse())
  changed = not ranker.rank(ids, history=other).equals(told)
  assert changed or name not in _SEQUENCES
  with pytest.warns(UserWarning, match="no user 'new'"):
    assert ranker.rank(ids, "new").equals(ranker.rank(ids))
