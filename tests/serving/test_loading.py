# SPDX-License-Identifier: Apache-2.0
"""An ensemble behind a loaded run: its own lists and others', joined."""

import jax
import pytest

from configs import hstu_movielens
from genrec_jax.core import sharding
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.serving import loading
from tests.retrieval.test_joined_lists import fused


def test_a_run_answers_together_with_others(monkeypatch, tmp_path):
  c = hstu_movielens.get_config("quicktest")
  c.data.num_users = 12
  c.system.width = c.system.backbone.num_layers = 1
  run = Run.start(c, tmp_path / "run")
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  monkeypatch.setattr(
    loading,
    "load_params",
    lambda run, checkpoint: Loaded(params, checkpoint, 1, {}),
  )
  popular = [*range(1, run.histories.manifest.num_items + 1)]
  popular.sort(key=lambda i: (-run.catalog.count[i], i))
  alone = loading.load(tmp_path / "run")
  together = loading.load(
    tmp_path / "run",
    ensemble={
      "members": {"model": "this run", "popular": "most_popular"},
      "rule": {"name": "retrieval.ReciprocalRank", "weights": {"popular": 3}},
      "num_results": 6,
    },
  )
  index, denied = alone.catalog.index_of, alone.catalog.ids[popular[0]]
  for user in alone.users.ids[:3]:
    asked = {"k": 6, "deny": [denied]}
    mine = [index(i) for i in alone.recommend(user, **asked)["item_id"]]
    seen = {index(i) for i in alone.history(user)["item_id"]}
    others = [i for i in popular if i not in seen and i != popular[0]][:6]
    expected, _ = fused([mine, others], (1, 3), 60)
    found = together.recommend(user, **(asked | {"k": 4}))["item_id"]
    assert [index(i) for i in found] == expected[:4]
  assert together.trained is None
  with pytest.raises(ValueError, match="Did you mean 'most_popular'"):
    loading.load(tmp_path / "run", ensemble={"members": {"a": "most_populr"}})
