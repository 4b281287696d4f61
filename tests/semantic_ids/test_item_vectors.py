# SPDX-License-Identifier: Apache-2.0
"""Texts of items by template, and the vectors made of them."""

import numpy as np
import pytest

from genrec_jax.content.item_texts import count_texts, item_texts
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.tfidf import FittedTfidf, TfidfSvd


@pytest.fixture
def catalog(make_catalog):
  return make_catalog(
    item=["1", "2", "3", "4", "5"],
    title=["Salt &amp; Oil", "", "Red  pen", None, "Red pen"],
    categories=[["A > B", "C"], ["A"], [], None, []],
    price=[1.5, 2.0, None, None, 1.0],
  )


@pytest.mark.parametrize(
  "template, wanted",
  [
    ("{title}", ["Salt & Oil", "", "Red pen", "", "Red pen"]),
    (
      "{title}. {categories}",
      ["Salt & Oil. A > B, C", "A", "Red pen", "", "Red pen"],
    ),
    (
      "a {title}, in {categories[0]}",
      ["a Salt & Oil, in A > B", "a , in A", "a Red pen, in", "", None],
    ),
    ("{categories[1]}", ["C", "", "", "", ""]),
    (
      "{title} {price}",
      ["Salt & Oil 1.5", "2.0", "Red pen", "", "Red pen 1.0"],
    ),
  ],
)
def test_templates(catalog, template, wanted):
  texts = item_texts(catalog, template)
  assert texts[0] == "" and len(texts) == 6
  for text, expected in zip(texts[1:], wanted, strict=True):
    assert expected is None or text == expected


@pytest.mark.parametrize(
  "template, message",
  [
    ("{titel}", "no 'titel'. Did you mean 'title'.*categories"),
    ("all the same", "names no field"),
    ("{title", "expected '}'"),
    ("{title.__class__}", "must be {name} or"),
    ("{title!r}", "must be {name} or"),
    ("{}", "must be {name} or"),
    ("{categories[2]}", "no item has a text"),
  ],
)
def test_templates_that_cannot_be(catalog, template, message):
  with pytest.raises(ValueError, match=message):
    item_texts(catalog, template)


def test_counts(catalog):
  counts = count_texts(item_texts(catalog, "{title}"))
  assert (counts.items, counts.without_text, counts.distinct) == (5, 2, 2)
  assert (counts.sharing, counts.largest_group) == (2, 2)
  assert counts.examples == [("Red pen", 2)]


def test_vectors_by_item(make_vectors):
  vectors = make_vectors({"x": "aab", "y": "", "z": "c", "w": "aab"})
  assert vectors.vectors.dtype == np.float32
  assert not vectors.vectors[0].any()
  found = vectors.for_catalog(["w", "y", "", "x"])
  np.testing.assert_array_equal(
    found[:, :3], [[2, 1, 0], [0] * 3, [0] * 3, [2, 1, 0]]
  )
  counts = vectors.manifest["counts"]
  assert counts["without_text"] == 1 and counts["sharing"] == 2
  with pytest.raises(ValueError, match="1 of 2 items have no vector.*'q'"):
    vectors.for_catalog(["q", "x"])


def test_versions_and_spaces(make_vectors):
  one = make_vectors({"x": "a", "y": "b"})
  grown = make_vectors({"x": "a", "y": "b", "z": "c"})
  other = make_vectors({"x": "a", "y": "b"}, letters="ab")
  assert one.version != grown.version and one.space == grown.space
  assert one.version != other.version and one.space != other.space


def test_a_folder_of_other_vectors_is_refused(make_vectors, catalog, tmp_path):
  encoder = TfidfSvd(width=1, min_texts=1)
  kept = ItemVectors.make(catalog, encoder, "{title}", tmp_path / "v")
  again = ItemVectors.make(catalog, encoder, "{title}", tmp_path / "v")
  assert again.version == kept.version
  with pytest.raises(ValueError, match="template: '{title}' there"):
    ItemVectors.make(catalog, encoder, "{categories}", tmp_path / "v")
  with pytest.raises(ValueError, match="encoder: .*'width': 1.*'width': 2"):
    wider = TfidfSvd(width=2, min_texts=1)
    ItemVectors.make(catalog, wider, "{title}", tmp_path / "v")
  path = tmp_path / "v" / "vectors.npy"
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(ValueError, match="vectors.npy is not what"):
    ItemVectors.load(tmp_path / "v")
  (tmp_path / "v" / "manifest.json").write_text("{}")
  with pytest.raises(ValueError, match="manifest.json is damaged"):
    ItemVectors.load(tmp_path / "v")
  with pytest.raises(
    ValueError, match="holds no item_vectors.*genrec tokenize"
  ):
    ItemVectors.load(tmp_path / "nothing")


def test_a_vector_that_is_not_finite_names_the_text(catalog, tmp_path):
  class Broken:
    fingerprint = "broken"

    def describe(self):
      return {}

    def encode(self, texts):
      bad = [[np.nan if t == "Red pen" else 1.0] for t in texts]
      return np.array(bad, np.float32)

  with pytest.raises(ValueError, match="not finite for 'Red pen'"):
    ItemVectors.make(catalog, Broken(), "{title}", tmp_path / "v")
  assert not (tmp_path / "v").exists()


_TEXTS = [
  f"{color} {thing}"
  for color in ("red", "green", "blue", "black")
  for thing in ("pen", "chair", "lamp", "vase", "rug")
]


def test_tfidf_puts_like_texts_together_and_remembers(tmp_path):
  fitted = TfidfSvd(width=6).fit(_TEXTS)
  vectors = fitted.encode(_TEXTS)
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
  alike = vectors @ vectors.T
  shares = [[len({*a.split()} & {*b.split()}) for a in _TEXTS] for b in _TEXTS]
  assert (
    alike[np.array(shares) == 1].mean() > alike[np.array(shares) == 0].max()
  )
  fitted.save(tmp_path)
  read = TfidfSvd(path=str(tmp_path)).fit(["other texts"])
  assert read.fingerprint == fitted.fingerprint
  np.testing.assert_array_equal(read.encode(_TEXTS), vectors)
  assert not read.encode(["nothing known"]).any()
  words = tmp_path / "words.json"
  words.write_text(words.read_text().replace("pen", "pan"))
  with pytest.raises(ValueError, match="not what was saved"):
    FittedTfidf.load(tmp_path)


def test_tfidf_that_cannot_be():
  with pytest.raises(ValueError, match="width=400.*Lower width"):
    TfidfSvd(width=400).fit(_TEXTS)
  with pytest.raises(ValueError, match="found no words"):
    TfidfSvd(width=1).fit(["!", "?"])


def test_new_items_of_a_fitted_encoder_share_its_space(make_catalog, tmp_path):
  ids = [f"i{n}" for n in range(len(_TEXTS))]
  old = ItemVectors.make(
    make_catalog(item=ids, title=_TEXTS), TfidfSvd(4), "{title}", tmp_path / "a"
  )
  more = make_catalog(item=[*ids, "new"], title=[*_TEXTS, "red sofa"])
  kept = TfidfSvd(path=str(tmp_path / "a" / "encoder"))
  new = ItemVectors.make(more, kept, "{title}", tmp_path / "b")
  fresh = ItemVectors.make(more, TfidfSvd(4), "{title}", tmp_path / "c")
  assert new.space == old.space and fresh.space != old.space
  np.testing.assert_array_equal(new.for_catalog(ids), old.for_catalog(ids))
