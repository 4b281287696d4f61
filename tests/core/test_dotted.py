# SPDX-License-Identifier: Apache-2.0
"""Nested keys in one level."""

from genrec_jax.core.dotted import differences, flat


def test_every_value_has_its_path():
  node = {"a": {"b": {"c": 1}, "d": [2, 3]}, "e": None, "empty": {}}
  assert flat(node) == {"a.b.c": 1, "a.d": [2, 3], "e": None}


def test_switches_that_came_later_are_off_where_they_are_absent():
  old = {"a": 1, "b": 2, "c": 0}
  new = {"a": 1, "b": 3, "c": False, "d": False, "e": None, "f": 0, "g": True}
  assert differences(old, old) == []
  assert differences(old, new) == ["b", "c", "f", "g"]
  assert differences(new, old) == ["b", "c", "f", "g"]
