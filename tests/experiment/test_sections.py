# SPDX-License-Identifier: Apache-2.0
"""What belongs to a run's config: its name, and not what readers are told."""

import json

import pytest

from configs import hstu_movielens
from genrec_jax.experiment.sections import (
  check_config,
  check_same,
  read_config,
  write_config,
)


def test_a_run_may_be_called_otherwise_when_it_is_resumed(tmp_path):
  config = check_config(hstu_movielens.get_config("quicktest"))
  path = tmp_path / "config.json"
  check_same(config, config | {"title": "Ours"}, path)
  without = {k: v for k, v in config.items() if k != "title"}
  assert check_config(without) == config | {"title": ""}
  check_same(without, config, path)
  with pytest.raises(ValueError, match="name: 'hstu_movielens-qui"):
    check_same(config, config | {"name": "other"}, path)


def test_an_empty_section_of_before_says_nothing_and_a_full_one_is_refused(
  tmp_path,
):
  config, path = (
    hstu_movielens.get_config("quicktest"),
    tmp_path / "config.json",
  )
  plain = check_config(config)
  write_config(path, plain | {"negatives": {}})
  assert read_config(path) == json.loads(json.dumps(plain))
  write_config(path, plain | {"negatives": {"directory": "x"}})
  with pytest.raises(ValueError, match="unknown key 'negatives'"):
    read_config(path)
