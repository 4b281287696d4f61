# SPDX-License-Identifier: Apache-2.0
"""What is no part of a run is refused where it enters, by what it lacks."""

import pytest

from configs import hstu_movielens
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.sections import check_config, write_config

_LAYOUT = {"name": "layouts.NextItem", "max_length": 8}
_OTHER = {"name": "evaluation.NextItem", "filter_history": False, "ks": (7,)}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"objective": _LAYOUT}, r"config.objective \(NextItem\) lacks __call__"),
    (
      {
        "objective": {
          "name": "objectives.WeightedSum",
          "objectives": {"a": _LAYOUT},
          "weights": {"a": 1.0},
        }
      },
      r"objectives\[\'a\'\] \(NextItem\) lacks __call__",
    ),
    ({"optimizer": _LAYOUT}, r"config.optimizer \(NextItem\) is no optimizer"),
    ({"data": _LAYOUT}, r"config.data \(NextItem\) lacks read, which Source"),
    ({"split": _LAYOUT}, r"config.split \(NextItem\) lacks resolve"),
    (
      {"pipeline.layout": {"name": "objectives.FullSoftmax"}},
      r"config.pipeline.layout \(FullSoftmax\) lacks num_columns",
    ),
    ({"pipeline.layout": "NextItem"}, r"config.pipeline.layout \(str\) lacks"),
    (
      {"system.backbone": {"num_layers": 2}},
      r"config.system.backbone \(dict\) lacks logical_axes",
    ),
    (
      {"system.backbone": {"name": "layers.SumPooling"}},
      r"config.system.backbone \(SumPooling\) lacks .*max_length",
    ),
    ({"evals.cold": _OTHER}, "both keep ranks.npz"),
    ({"train.monitor": "ndgc@10"}, "no validation metric"),
    ({"train.warm_start": "/none"}, "train.warm_start='/none' holds no run"),
    (
      {"train.pretrained": {"": {"path": "/none"}}},
      r"train.pretrained\[''\]='/none' holds no run",
    ),
    (
      {"train.pretrained": {"": {"path": "/none/a.safetensors"}}},
      r"train.pretrained\[''\]: /none/a.safetensors is missing",
    ),
    (
      {
        "objective": {
          "name": "objectives.BinaryCrossEntropy",
          "tasks": ("a",),
        }
      },
      "has no labels of any",
    ),
  ],
)
def test_parts_of_another_kind(changes, message, tmp_path):
  config = hstu_movielens.get_config("quicktest").to_dict()
  for name, value in changes.items():
    *parents, last = name.split(".")
    node = config
    for parent in parents:
      node = node[parent]
    node[last] = value
  with pytest.raises(ValueError, match=message):
    Run.start(config, tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()
  assert not (tmp_path / "run" / "data").exists()


def test_a_run_that_has_no_checkpoint_is_nothing_to_start_from(tmp_path):
  config = hstu_movielens.get_config("quicktest").to_dict()
  (tmp_path / "old").mkdir()
  write_config(tmp_path / "old" / "config.json", check_config(config))
  config["train"]["warm_start"] = str(tmp_path / "old")
  with pytest.raises(ValueError, match="old' holds no checkpoint"):
    Run.start(config, tmp_path / "run")
  assert not (tmp_path / "run" / "data").exists()
  (tmp_path / "old" / "config.json").write_text("{}")
  with pytest.raises(ValueError, match="old/config.json"):
    Run.start(config, tmp_path / "run")
