# SPDX-License-Identifier: Apache-2.0
"""Numbers of a config that cannot be are refused by their keys, when built."""

import importlib
import pkgutil

from ml_collections import ConfigDict
import pytest

import configs
from genrec_jax.core.build import to_plain
from genrec_jax.core.limits import check_numbers
from genrec_jax.experiment.experiment import Run

_TABLE = [
  ("optimizer.learning_rate", 0.0, "above 0"),
  ("optimizer.learning_rate", -1e-3, "above 0"),
  ("optimizer.learning_rate", float("inf"), "finite"),
  ("optimizer.b2", 1.0, "at least 0 and below 1"),
  ("optimizer.weight_decay", -0.1, "at least 0"),
  ("optimizer.warmup_steps", -1, "at least 0"),
  ("optimizer.clip_norm", 0.0, "above 0"),
  ("system.dropout", 1.2, "at least 0 and below 1"),
  ("system.dropout", -0.1, "at least 0 and below 1"),
  ("system.dropout", float("nan"), "finite"),
  ("system.dropout", "high", "a number"),
  ("system.width", 0, "at least 1"),
  ("system.dtype", "float99", "float32, bfloat16 or float16"),
  ("system.backbone.dtype", 32, "float32, bfloat16 or float16"),
  ("system.backbone.num_layers", 0, "at least 1"),
  ("system.backbone.num_heads", 0, "at least 1"),
  ("system.backbone.num_heads", -2, "at least 1"),
  ("system.backbone.key_width", 0, "at least 1"),
  ("system.backbone.dropout", 1.0, "at least 0 and below 1"),
  ("system.backbone.attention.normalizer", 0.0, "above 0"),
  ("system.position_init_std", -1.0, "at least 0"),
  ("objective.temperature", 0.0, "above 0"),
  ("objective.temperature", -1.0, "above 0"),
  ("objective.negatives.count", 0, "at least 1"),
  ("pipeline.batch_size", 0, "at least 1"),
  ("pipeline.row_length", -5, "at least 1"),
  ("pipeline.readers", 0, "at least 1"),
  ("pipeline.layout.max_length", 0, "at least 1"),
  ("train.steps", 0, "at least 1"),
  ("train.log_every_steps", 0, "at least 1"),
  ("train.eval_every_steps", -1, "at least 0"),
  ("train.patience", -1, "at least 0"),
  ("train.eval_users", 0, "at least 1"),
  ("requests.batch_size", 0, "at least 1"),
  ("seed", -1, "at least 0 and below 2**32"),
  ("seed", 10**20 - 1, "at least 0 and below 2**32"),
  ("data.seed", -1, "at least 0 and below 2**32"),
  ("requests.num_results", 0, "at least 1"),
]


def _config() -> ConfigDict:
  module = importlib.import_module("configs.hstu_movielens")
  return module.get_config("quicktest")


@pytest.mark.parametrize(("key", "value", "words"), _TABLE)
def test_it_is_refused_before_anything_is_read(key, value, words, tmp_path):
  config = _config().to_dict()
  node = config
  *parents, last = key.split(".")
  for name in parents:
    node = node[name]
  node[last] = value
  with pytest.raises(ValueError) as error:
    Run.start(config, tmp_path / "run")
  said = str(error.value)
  assert f"config.{key} must be {words}, got {value!r}." == said
  assert list(tmp_path.rglob("*.*")) == []


def _nodes(node, where):
  if isinstance(node, dict):
    yield node, where
    for key, value in node.items():
      yield from _nodes(value, f"{where}.{key}")


def test_every_shipped_config_is_within_the_limits():
  count = 0
  for module in pkgutil.iter_modules(configs.__path__):
    made = importlib.import_module(f"configs.{module.name}")
    if "get_config" not in vars(made):
      continue
    for variant in ("", *made._VARIANTS):
      config = to_plain(made.get_config(variant))
      for node, where in _nodes(config, "config"):
        check_numbers(node, where)
        count += len(node)
  assert count > 1000
