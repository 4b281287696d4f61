# SPDX-License-Identifier: Apache-2.0
"""JSON objects that know whether they are what was written."""

import json

from hypothesis import given, strategies as st
import pytest

from genrec_jax.core import sealed

_VALUES = {"name": "a", "sizes": (3, 4), "rate": 1e-3, "more": {"ä": None}}


def test_what_is_sealed_comes_back_whatever_its_layout(tmp_path):
  path = tmp_path / "a.json"
  written = sealed.seal(_VALUES)
  plain = json.loads(json.dumps(_VALUES))
  for options in ({"indent": 2}, {"sort_keys": True, "ensure_ascii": False}):
    path.write_text(json.dumps(written, **options), "utf-8")
    assert sealed.read_sealed(path, "") == plain
  assert sealed.seal(written) == written
  path.write_text(json.dumps(plain))
  assert sealed.read_sealed(path, "") == plain


@given(st.data())
def test_a_flipped_bit_changes_nothing_or_is_named(tmp_path_factory, data):
  path = tmp_path_factory.mktemp("flip") / "a.json"
  text = bytearray(json.dumps(sealed.seal(_VALUES), indent=2).encode())
  place = data.draw(st.integers(0, len(text) - 1))
  text[place] ^= 1 << data.draw(st.integers(0, 7))
  path.write_bytes(text)
  try:
    found = sealed.read_sealed(path, "Make it again.")
  except ValueError as error:
    assert str(path) in str(error) and "Make it again." in str(error)
  else:
    # Of its own key's name, a bit makes another key, which readers refuse.
    known = {key: found[key] for key in _VALUES}
    assert known == json.loads(json.dumps(_VALUES))


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "\xff"])
def test_what_is_no_object_is_named(text, tmp_path):
  path = tmp_path / "a.json"
  path.write_bytes(text.encode("latin-1"))
  with pytest.raises(ValueError, match=r"a\.json is damaged.* Fix it\."):
    sealed.read_sealed(path, "Fix it.")
