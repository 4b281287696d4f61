# SPDX-License-Identifier: Apache-2.0
"""Codes that begin with fields: classes, residuals within, new items."""

import numpy as np
import pytest

from genrec_jax.content.fields import FieldEncoder, Labels, Numbers
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.tfidf import TfidfSvd
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers import base
from genrec_jax.semantic_ids.quantizers.field_codes import FieldCodes
from genrec_jax.semantic_ids.uniqueness import DedupLevel
from tests.semantic_ids.conftest import Letters

_FIELDS = {"kind": Labels(4), "price": Numbers(3)}


def _encoder(**options):
  return FieldEncoder(_FIELDS, Letters("abc"), **options)


def test_labels_are_the_most_frequent_and_numbers_equal_shares():
  labels = Labels(3)
  values = ["b", "b", "a", "a", "c", "", "b"]
  learned = labels.learn(values)
  assert learned == ["b", "a"]
  assert labels.classes([*values, "new"], learned).tolist() == [
    1, 1, 2, 2, 0, 0, 1, 0
  ]  # fmt: skip
  cut = Labels(9, depth=2)
  assert cut.learn(["A > B > C", "A > B > D", "A > E"]) == ["A > B", "A > E"]
  numbers = Numbers(4)
  ends = numbers.learn([str(n) for n in range(1, 10)] + ["", "?"])
  found = numbers.classes([*map(str, range(1, 10)), "", "$3", "nan"], ends)
  assert found.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 1, 0]
  assert numbers.learn(["", "x"]) == []


def test_vectors_are_blocks_of_the_classes_and_the_text():
  texts = ["red¦1¦aab", "red¦2¦b", "blue¦¦c", ""]
  fitted = _encoder(weight=0.5).fit(texts)
  found = fitted.encode([*texts, "green¦9¦a"])
  assert found.shape == (5, 4 + 3 + 3)
  classes = found[:, :4].argmax(axis=1)
  assert classes.tolist() == [1, 1, 2, 0, 0]
  assert found[:, 4:7].argmax(axis=1).tolist() == [1, 2, 0, 0, 2]
  assert (np.sort(found[:, :4], axis=1)[:, -1] == 0.5).all()
  np.testing.assert_array_equal(found[0, 7:], [2, 1, 0])
  np.testing.assert_array_equal(found[3, 7:], 0)
  with pytest.raises(
    ValueError, match="has 2 pieces and FieldEncoder 2 fields"
  ):
    fitted.encode(["red¦a"])


def test_items_without_a_text_have_their_fields_alone():
  words = ["aab cd", "bba ef", "abc gh", "cde ab", "def cd", "fgh ij"]
  encoder = FieldEncoder({"kind": Labels(3)}, TfidfSvd(3, min_texts=1))
  fitted = encoder.fit([f"red¦{text}" for text in words])
  alone, beside = fitted.encode(["red¦"]), fitted.encode(["red¦", "¦aab"])
  np.testing.assert_array_equal(alone[0], [0, 0.5, 0, 0, 0, 0])
  np.testing.assert_array_equal(beside[0], alone[0])


def _vectors(count=60, seed=0):
  """Of three kinds, far apart in text too."""
  rng = np.random.default_rng(seed)
  kind, price = rng.integers(0, 4, count), rng.integers(0, 3, count)
  text = rng.normal(size=(count, 5)) + 4 * np.eye(4, 5)[kind]
  blocks = [0.5 * np.eye(4)[kind], 0.5 * np.eye(3)[price]]
  x = np.concatenate([*blocks, text], axis=1).astype(np.float32)
  return x, kind, price


def test_first_codes_are_the_fields_and_the_rest_codes_what_they_leave(
  tmp_path,
):
  x, kind, price = _vectors()
  fitted = FieldCodes((4, 3, 6, 5), num_fields=2).fit(x, seed=0)
  codes = fitted.encode(x)
  np.testing.assert_array_equal(codes[:, 0], kind)
  np.testing.assert_array_equal(codes[:, 1], price)
  # By hand: less the mean of the kind, then of the price.
  left = x[:, 7:].astype(np.float64)
  for field in (kind, price):
    means = np.stack(
      [left[field == c].mean(axis=0) for c in range(field.max() + 1)]
    )
    left = left - means[field]
  back = fitted.decode(codes)
  np.testing.assert_array_equal(back[:, :7], x[:, :7])
  for level in (2, 3):
    book = fitted.codebooks[level]
    far = np.square(left[:, None] - book[None]).sum(axis=2)
    np.testing.assert_array_equal(codes[:, level], far.argmin(axis=1))
    left = left - book[codes[:, level]]
  np.testing.assert_allclose(x[:, 7:] - back[:, 7:], left, atol=1e-4)
  costs = fitted.last_level_costs(x)
  np.testing.assert_array_equal(costs.argmin(axis=1), codes[:, -1])
  fitted.save(tmp_path)
  np.testing.assert_array_equal(base.load(tmp_path).encode(x), codes)


def test_vectors_without_blocks_are_refused():
  x, _, _ = _vectors()
  with pytest.raises(ValueError, match="do not begin with one-hot blocks"):
    FieldCodes((6, 3, 4), num_fields=2).fit(x)
  with pytest.raises(ValueError, match="no text"):
    FieldCodes((4, 3, 4), num_fields=2).fit(x[:, :7])
  with pytest.raises(ValueError, match="num_fields=2 must be"):
    FieldCodes((4, 3), num_fields=2)


@pytest.mark.parametrize("text", [Letters("abcdefghij"), TfidfSvd(3)])
def test_a_new_item_gets_its_fields_codes_from_what_was_learned(
  make_catalog, tmp_path, text
):
  words = ["aab cd", "bba ef", "abc gh", "cde ab", "def cd", "fgh ij"]
  columns = {
    "item": [f"i{n}" for n in range(18)],
    "title": [f"{words[n % 6]} {words[n // 3]}" for n in range(18)],
    "kind": ["red", "blue", "blue"] * 6,
  }
  template = "{kind}¦{title}"
  encoder = FieldEncoder({"kind": Labels(3)}, text)
  folder = tmp_path / "vectors"
  vectors = ItemVectors.make(make_catalog(**columns), encoder, template, folder)
  tokens = ItemTokens.make(
    tmp_path / "tokens", vectors, FieldCodes((3, 4), 1), DedupLevel(16)
  )
  kinds = [2 if kind == "red" else 1 for kind in columns["kind"]]
  assert tokens.codes[1:, 0].tolist() == kinds
  # Another catalogue, in which most are red, by the encoder that is kept.
  columns = {
    name: [*values, *more]
    for (name, values), more in zip(
      columns.items(),
      (["j1", "j2"], ["aab gh", "fgh cd"], ["red", "green"]),
      strict=True,
    )
  }
  kept = FieldEncoder({"kind": Labels(3)}, text, path=str(tokens.encoder))
  later = ItemVectors.make(
    make_catalog(**columns), kept, template, tmp_path / "later"
  )
  assert later.space == vectors.space
  after = tokens.assign(["j1", "j2"], later)
  assert after.codes[-2:, 0].tolist() == [2, 0]
