# SPDX-License-Identifier: Apache-2.0
"""What is no part of a run is refused where it enters, by what it lacks."""

import pytest

from configs import hstu_movielens
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.refusal import nothing_left
from genrec_jax.experiment.sections import check_config, write_config
from genrec_jax.experiment.training import alone

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


def test_a_start_that_is_refused_leaves_nothing(tmp_path):
  config = hstu_movielens.get_config("quicktest").to_dict()
  config["data"]["num_users"] = 40
  workdir = tmp_path / "runs" / "a"

  def refuse():
    wrong = {**config["pipeline"]["layout"], "max_length": 999_999}
    pipeline = {**config["pipeline"], "layout": wrong}
    with pytest.raises(ValueError, match="999999"), alone(workdir):
      Run.start({**config, "pipeline": pipeline}, workdir)

  refuse()
  assert not (tmp_path / "runs").exists()
  Run.start(config, workdir)
  refuse()
  assert {p.name for p in workdir.iterdir()} == {"config.json", "data"}


@pytest.mark.parametrize("there", [(), ("data/a",), ("config.json",)])
def test_only_what_a_start_made_is_taken_back(there, tmp_path):
  made = ("config.json", "data/a", "input/events.parquet")

  def write(paths):
    for path in paths:
      (tmp_path / path).parent.mkdir(exist_ok=True)
      (tmp_path / path).touch()

  def left():
    return {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")}

  write((*there, "notes.txt"))
  with pytest.raises(ValueError), nothing_left(tmp_path):
    write(made)
    raise ValueError
  assert (tmp_path / "data" / "a").exists() == ("data/a" in there)
  assert left() == {"notes.txt", *there} - {"data/a"}
  # A training that has begun is kept, and one that was interrupted.
  for error, log in ((ValueError, "metrics.jsonl"), (KeyboardInterrupt, "x.y")):
    with pytest.raises(error), nothing_left(tmp_path):
      write((*made, log))
      raise error
    assert (tmp_path / "data" / "a").exists()
    assert left() >= {"config.json", "input/events.parquet"}
    (tmp_path / "metrics.jsonl").unlink(missing_ok=True)
