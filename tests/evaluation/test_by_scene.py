# SPDX-License-Identifier: Apache-2.0
"""Impressions by where they were shown, against scikit-learn on each part."""

import types

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.evaluation.by_scene import ByScene, _scenes
from genrec_jax.evaluation.scored import Scored
from genrec_jax.experiment.experiment import Run
from genrec_jax.models.list_reward import ListReward

_FEEDBACK = Feedback(("click", "like"))
_USERS = 6


def _run(scenes=("", "home", "search", "empty"), **more):
  rng = np.random.default_rng(0)
  histories = [
    {"scene": rng.integers(0, 3, 20).astype(np.int32)} for _ in range(_USERS)
  ]
  manifest = types.SimpleNamespace(scenes=[*scenes])

  class Histories(list):
    pass

  found = Histories(histories)
  found.manifest = manifest
  run = object.__new__(Run)
  vars(run).update(histories=found, **more)
  return run


def _scored():
  rng = np.random.default_rng(1)
  users_R = np.sort(rng.integers(0, _USERS, 90))
  return Scored(
    logits_RT=rng.normal(size=(90, 2)).astype(np.float32),
    labels_R=rng.integers(0, 4, 90),
    users_R=users_R,
    items_R=np.ones(90, np.int32),
    events_R=rng.integers(0, 20, 90),
    lengths_R=np.ones(90, np.int32),
    num_requests=90,
  )


def test_every_scene_has_the_auc_of_its_own_impressions():
  run, scored = _run(), _scored()
  scene_R = _scenes(run, scored)
  by_hand = [
    run.histories[user]["scene"][event]
    for user, event in zip(scored.users_R, scored.events_R, strict=True)
  ]
  np.testing.assert_array_equal(scene_R, by_hand)
  found = ByScene(_FEEDBACK).by_scene(scored, scene_R, run)
  assert set(found) == {"home", "search"}
  for number, name in ((1, "home"), (2, "search")):
    mine = scene_R == number
    assert found[name]["impressions"] == mine.sum() > 20
    for task, label in enumerate(_FEEDBACK.tasks):
      done = scored.labels_R[mine] >> task & 1
      wanted = roc_auc_score(done, scored.logits_RT[mine, task])
      assert found[name][label]["auc"] == pytest.approx(wanted, abs=1e-6)
  text = ByScene(_FEEDBACK).text({"metrics": {"test": found}})
  assert "test, scene home, " in text and "click 0." in text


def test_without_scenes_there_is_nothing_to_tell_apart():
  layout = types.SimpleNamespace(
    num_candidates=1, feedback=_FEEDBACK, impression_batch=None
  )
  more = {"pipeline": types.SimpleNamespace(layout=layout)}
  more["system"] = types.SimpleNamespace(score=None)
  with pytest.raises(ValueError, match="the data set says it of none"):
    ByScene(_FEEDBACK).check(_run((), **more))
  with pytest.raises(ValueError, match="make them the same"):
    ByScene(Feedback(("click",))).check(_run(**more))
  more["system"] = ListReward(num_items=3, width=4, max_length=5)
  with pytest.raises(ValueError, match="lacks score"):
    ByScene(_FEEDBACK).check(_run(**more))
