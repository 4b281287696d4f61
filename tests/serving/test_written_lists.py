# SPDX-License-Identifier: Apache-2.0
"""Lists that a model makes itself, as `genrec recommend` serves them."""

import jax
import pytest

from configs import token_baseline_kuairand
from genrec_jax.core import sharding
from genrec_jax.core.build import to_plain
from genrec_jax.experiment import trained_ranker
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.semantic_ids import stages
from genrec_jax.serving import loading
from tests.data.layouts.parts_by_hand import ModelByHand


@pytest.mark.slow
def test_one_model_writes_a_list_and_places_what_it_finds(
  monkeypatch, tmp_path
):
  c = token_baseline_kuairand.get_config("plain-quicktest")
  c.data.num_users = 30
  c.system.backbone.num_layers = 1
  workdir, plain = tmp_path / "run", to_plain(c)
  stages.make_tokens(plain, stages.prepared(plain, workdir), workdir)
  run = Run.start(c, workdir)
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  for module in (loading, trained_ranker):
    monkeypatch.setattr(
      module,
      "load_params",
      lambda run, checkpoint: Loaded(params, checkpoint, 1, {}),
    )
  alone = loading.load(workdir)
  user = alone.users.ids[3]
  seen = {*alone.history(user)["item_id"]}
  six = alone.recommend(user, k=6)["item_id"].to_list()
  writer = loading.load(workdir, list_size=3)
  written = writer.recommend(user, k=3)
  assert len({*written["item_id"]} - seen) == 3
  # What is measured of the run is what its config says.
  assert type(writer.trained.run.retrieval) is type(run.retrieval)
  # log p of the list as far as each item.
  assert written["score"].is_sorted(descending=True)
  second = {"ranker": workdir, "num_candidates": 6}
  by_value = loading.load(workdir, **second).recommend(user, k=6)
  placed = loading.load(workdir, **second, assume="likely")
  placed = placed.recommend(user, k=6)
  assert {*placed["item_id"]} == {*by_value["item_id"]} == {*six}
  assert placed["item_id"][0] == by_value["item_id"][0]
  assert placed["score"][0] == pytest.approx(by_value["score"][0], abs=1e-4)


def test_a_model_that_writes_no_such_list_is_refused():
  with pytest.raises(ValueError, match="assume='likely' is of a ranker"):
    loading.load("runs/a", assume="likely")
  run = object.__new__(Run)
  vars(run).update(config={"name": "r"}, system=ModelByHand())
  with pytest.raises(ValueError, match="BeamLists, for .* lacks .*begin_lists"):
    loading._writing(run, 2)
  nothing = dict.fromkeys(("step", "begin_lists", "next_item"))
  system = ModelByHand(list_size=3, level_sizes=(2,), **nothing)
  vars(run).update(system=system)
  with pytest.raises(ValueError, match="list_size=4: the model of r is"):
    loading._writing(run, 4)
