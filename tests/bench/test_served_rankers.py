# SPDX-License-Identifier: Apache-2.0
"""What is kept of a history gives the same scores, and is timed for rankers
that keep something."""

import numpy as np
import pytest

from configs import dcn_kuairand, linkedin_kuairand, longer_kuairand
from genrec_jax.bench import served_rankers
from genrec_jax.bench.batches import served_batch
from genrec_jax.core.build import build
from genrec_jax.experiment.sections import check_config

_SIZES = {"events": 6, "num_items": 30, "repeats": 1}


def _timed(module):
  config = check_config(module.get_config("quicktest"))
  return served_rankers.time_served_rankers(
    {"mine": config}, candidates=(1,), **_SIZES
  )


# One candidate is a program less; it sees no other anyway.
@pytest.mark.parametrize(
  "module",
  [longer_kuairand, pytest.param(linkedin_kuairand, marks=pytest.mark.slow)],
)
def test_scores_behind_what_is_kept_are_those_of_whole_requests(module):
  result = _timed(module)
  ranker = result["rankers"]["mine"]
  row = ranker["candidates"]["1"]
  assert row["largest_relative_difference"] < 1e-5
  two = 2 if module is linkedin_kuairand else 1
  assert ranker["tokens_of_history"] == two * _SIZES["events"]
  text = served_rankers.table(result)
  assert len(text.splitlines()) == 3 and "| mine | 1 |" in text


def test_a_ranker_that_keeps_nothing_is_named():
  with pytest.raises(ValueError, match="dcn_kuairand-quicktest keeps nothing"):
    _timed(dcn_kuairand)


@pytest.mark.parametrize("module", [longer_kuairand, linkedin_kuairand])
def test_a_served_user_has_a_whole_history_of_all_rows(module):
  config = served_rankers.with_history(
    check_config(module.get_config("quicktest")), events=40, candidates=5
  )
  layout = build(config["pipeline"]["layout"])
  batch = served_batch(layout, 40, 5, num_items=30)
  assert batch["candidate_BN" if "candidate_BN" in batch else "item_BL"].min()
  rows = np.array(config["system"]["feature_rows"])
  asked = batch["features_BLF"][:, -5:]
  assert (asked < rows).all() and (asked.max(axis=(0, 1)) > 0).all()
  history, shown = layout.apart(batch)
  assert shown["features_BLF"].shape[:2] == (1, 5)
  if module is longer_kuairand:
    assert (history["history_item_BLH"] > 0).sum() == 40
    assert config["system"]["pooling"]["merge"]["num_positions"] == 40
  else:
    assert (history["segment_ids_BL"] > 0).sum() == 80
