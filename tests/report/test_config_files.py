# SPDX-License-Identifier: Apache-2.0
"""What a config's name says of the config file: its title, and nothing else."""

import sys
import types

import pytest

from configs import hstu_movielens
from genrec_jax.report import config_files
from genrec_jax.report.format_1 import in_format_2


def test_a_title_is_that_of_the_config_with_its_variants():
  name = "hstu_movielens-global_time-no_time"
  assert config_files.title_of("hstu_movielens") == "HSTU"
  assert config_files.title_of(name) == "HSTU (no time bias)"
  config = config_files.config_of(name)
  assert config["name"] == name and config["split"]["name"] == "data.GlobalTime"


@pytest.mark.parametrize(
  "name",
  [
    "",
    "gone",
    "my.own",
    "common",
    "hstu_movielens-gone",
    "hstu_movielens-softmax-production",
  ],
)
def test_a_name_without_a_config_stands_for_itself(name):
  assert config_files.title_of(name) == name
  assert config_files.config_of(name) is None


def _config(arg=""):
  c = hstu_movielens.get_config(arg)
  del c.title
  return c


def test_a_config_without_a_title_is_its_name(monkeypatch):
  file = types.SimpleNamespace(get_config=_config)
  monkeypatch.setitem(sys.modules, "configs.own", file)
  assert config_files.title_of("own") == "own"


def test_a_config_that_fails_is_not_passed_over(monkeypatch):
  file = types.SimpleNamespace(get_config=lambda arg: 1 / 0)
  monkeypatch.setitem(sys.modules, "configs.broken", file)
  with pytest.raises(ZeroDivisionError):
    config_files.title_of("broken")


def test_a_result_keeps_the_title_that_it_has():
  result = {"config": "hstu_movielens-no_bias", "floors": {}}
  assert in_format_2(result)["title"] == "HSTU (no biases)"
  assert in_format_2({**result, "title": "Ours"})["title"] == "Ours"
