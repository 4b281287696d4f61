# SPDX-License-Identifier: Apache-2.0
"""Nested keys in one level."""

from genrec_jax.core.dotted import flat


def test_every_value_has_its_path():
  node = {"a": {"b": {"c": 1}, "d": [2, 3]}, "e": None, "empty": {}}
  assert flat(node) == {"a.b.c": 1, "a.d": [2, 3], "e": None}
