# SPDX-License-Identifier: Apache-2.0
"""A model that reads actions is told those of the history it is asked with."""

import numpy as np
import polars as pl
import pytest

from configs import hstu_files
from genrec_jax.experiment.experiment import Run
from genrec_jax.serving.recommender import Recommender


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """Untrained, of simulated shoppers, with windows of 8 places."""
  config = hstu_files.get_config("actions-grouped-quicktest")
  config.pipeline.layout.max_length = 8
  config.pipeline.layout.groups.update(size=3, places=3)
  config.requests.batch_size = 2
  run = Run.start(config, tmp_path_factory.mktemp("shop") / "run")
  program = run.program()
  with program.in_force():
    return Recommender.of_run(run, program.init_state().params)


def _told(model, user):
  """The user's events as a table that can be given back."""
  record, manifest = model.record(user), model.histories.manifest
  return pl.DataFrame(
    {
      "item_id": [model.catalog.ids[i] for i in record["item"]],
      "action": [manifest.actions[a] for a in record["action"]],
      "time": record["time"] + manifest.epoch_seconds,
    }
  )


@pytest.mark.slow
def test_the_answer_is_that_of_the_stored_user_and_of_his_actions(model):
  longest = max(model.users.ids, key=lambda u: len(model.record(u)["item"]))
  told = _told(model, longest)
  assert len(told) > 8
  stored = model.recommend(longest, k=20)
  assert model.recommend(history=told, k=20).equals(stored)
  swap = pl.col("action").replace({"view": "purchase", "purchase": "view"})
  other = model.recommend(history=told.with_columns(swap), k=20)
  assert np.abs(other["score"].to_numpy() - stored["score"].to_numpy()).max()


@pytest.mark.slow
def test_ids_alone_say_no_actions(model):
  ids = _told(model, model.users.ids[0])["item_id"].to_list()
  with pytest.raises(ValueError, match=r"event \d+ of a history has no action"):
    model.recommend(history=ids)
