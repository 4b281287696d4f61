# SPDX-License-Identifier: Apache-2.0
"""The command of a finished run: what differs from its config file."""

import json
import shlex

import pytest

from configs import hstu_movielens
from genrec_jax.core.build import to_plain
from genrec_jax.report.command import command


def _values(variants: str, **changed):
  config = hstu_movielens.get_config(variants)
  with config.unlocked():
    config.update_from_flattened_dict(changed)
  return json.loads(json.dumps(to_plain(config)))


def test_every_changed_value_is_an_argument_and_no_other(make_run):
  run = make_run(
    config="hstu_movielens-no_time",
    seed=3,
    config_values=_values(
      "no_time",
      seed=3,
      **{
        "data.path": "/home/a b/ml-1m.zip",
        "train.warm_start": "/home/a b/runs/older",
        "optimizer.learning_rate": 0.002,
        "evals.next_item.ks": (10, 20),
      },
    ),
  )
  first, *changed = shlex.split(command(run))
  assert first == "--config=configs/hstu_movielens.py:no_time"
  assert sorted(changed) == [
    "--config.data.path=ml-1m.zip",
    "--config.evals.next_item.ks=(10, 20)",
    "--config.optimizer.learning_rate=0.002",
    "--config.train.warm_start=older",
  ]


@pytest.mark.parametrize(
  "name", ["gone_from_here", "hstu_movielens-no_such_variant"]
)
def test_a_config_that_is_not_there_is_said_so(make_run, name):
  text = command(make_run(config=name))
  assert "not here" in text
