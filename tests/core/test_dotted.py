# SPDX-License-Identifier: Apache-2.0
"""Nested keys in one level."""

from ml_collections import ConfigDict
import pytest

from genrec_jax.core.dotted import differences, flat, section_of


def test_every_value_has_its_path():
  node = {"a": {"b": {"c": 1}, "d": [2, 3]}, "e": None, "empty": {}}
  assert flat(node) == {"a.b.c": 1, "a.d": [2, 3], "e": None}


def test_switches_that_came_later_are_off_where_they_are_absent():
  old = {"a": 1, "b": 2, "c": 0}
  new = {"a": 1, "b": 3, "c": False, "d": False, "e": None, "f": 0, "g": True}
  assert differences(old, old) == []
  assert differences(old, new) == ["b", "c", "f", "g"]
  assert differences(new, old) == ["b", "c", "f", "g"]


def test_a_section_may_hold_a_key_of_its_own_name():
  config = ConfigDict({"a": {"a": {"a": 1}, "b": 2}, "none": {}})
  assert section_of(config, "a.a.a") == (config.a.a, "a")
  assert section_of(config, "a.b") == (config.a, "b")
  assert section_of(config, "a") == (config, "a")


@pytest.mark.parametrize(
  ("key", "said"),
  [
    ("steps", "config has no 'steps'. Did you mean 'step'?"),
    ("train.max", "config.train has no 'max'. Choices: step, steps."),
    ("train.steps.x", "config.train.steps has no keys."),
    ("none.x", "config.none has no keys."),
    ("", "config has no ''."),
  ],
)
def test_a_key_that_is_not_there_is_named_with_its_section(key, said):
  config = ConfigDict({"step": 1, "train": {"steps": 1, "step": 2}, "none": {}})
  with pytest.raises(ValueError) as error:
    section_of(config, key)
  assert str(error.value).startswith(said)
