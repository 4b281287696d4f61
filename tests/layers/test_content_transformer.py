# SPDX-License-Identifier: Apache-2.0
"""Items by their words, against a Transformer in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import ItemData
from genrec_jax.layers.content_transformer import ContentTransformer
from genrec_jax.layers.item_content import ItemContent, with_data
from genrec_jax.ops.relative_buckets import relative_buckets

_V, _T, _D, _WORDS, _HEADS, _HEAD = 9, 7, 6, 11, 2, 4
_RNG = np.random.default_rng(0)


def _tokens():
  """Rows of 0 to 7 tokens, padded."""
  tokens = np.zeros((_V + 1, _T), np.int32)
  for row, length in enumerate([0, 7, 3, 1, 5, 0, 2, 6, 4, 3]):
    tokens[row, :length] = _RNG.integers(1, _WORDS, length)
  return tokens


_TOKENS = _tokens()
_DATA = ItemData(
  _TOKENS,
  np.ones(_V + 1),
  _RNG.normal(size=(_WORDS, _D)).astype(np.float32),
)


def _encoder(width=_T, **options):
  return ContentTransformer(
    content_width=width,
    width=_D,
    num_words=_WORDS,
    num_heads=_HEADS,
    head_width=_HEAD,
    ffn_width=10,
    num_buckets=8,
    max_distance=6,
    **options,
  )


def _params(encoder):
  content = jnp.zeros((1, _T), jnp.int32)
  params = encoder.init(jax.random.key(0), content, deterministic=True)
  params = encoder.with_data(params["params"], _DATA)
  # Scales of ones would hide where a norm stands.
  norms = [name for name in params if name.startswith("norms")]
  for i, name in enumerate(sorted(norms)):
    scale = 1 + 0.3 * jax.random.normal(jax.random.key(i), (_D,))
    params[name] = {"scale": scale}
  return jax.tree.map(jnp.asarray, params)


def _in_numpy(params, tokens, pooling):
  """One text of n tokens, without padding."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

  def norm(x, i):
    mean = (x**2).mean(axis=-1, keepdims=True)
    return x / np.sqrt(mean + 1e-6) * p[f"norms_{i}"]["scale"]

  if not len(tokens):
    return np.zeros(_D)
  x = norm(p["words"]["embedding"][tokens], 0)
  z, own = norm(x, 1), p["attention_0"]
  place = np.arange(len(tokens))
  buckets = relative_buckets(
    place[None] - place[:, None], num_buckets=8, max_distance=6, both_sides=True
  )
  parts = []
  for head in range(_HEADS):
    cut = slice(head * _HEAD, (head + 1) * _HEAD)
    q, k, v = (
      z @ own[name]["kernel"][:, cut] for name in ("query", "key", "value")
    )
    scores = q @ k.T + p["bias"]["embedding"][head][buckets]
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    parts.append(weights / weights.sum(axis=1, keepdims=True) @ v)
  x = x + np.concatenate(parts, axis=1) @ own["output"]["kernel"]
  ffn = p["ffn_0"]
  h = np.maximum(norm(x, 2) @ ffn["in"]["kernel"], 0) @ ffn["out"]["kernel"]
  y = norm(x + h, 3)
  return y[0] if pooling == "first" else y.mean(axis=0)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_an_item_is_what_numpy_makes_of_its_text_alone(pooling):
  encoder = _encoder(pooling=pooling)
  params = _params(encoder)
  found = jax.jit(
    lambda p, x: encoder.apply({"params": p}, x, deterministic=True)
  )(params, _TOKENS)
  wanted = [_in_numpy(params, row[row > 0], pooling) for row in _TOKENS]
  np.testing.assert_allclose(found, wanted, atol=2e-5)
  assert not np.asarray(found)[[0, 5]].any()


def test_more_room_changes_nothing():
  params = _params(_encoder())
  wide = np.pad(_TOKENS, ((0, 0), (0, 4)))
  for pooling in ("first", "mean"):
    a, b = (
      _encoder(tokens.shape[1], pooling=pooling).apply(
        {"params": params}, jnp.asarray(tokens), deterministic=True
      )
      for tokens in (_TOKENS, wide)
    )
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_once_per_item_is_once_per_occurrence_gradients_of_words_too():
  module = ItemContent(_V, _encoder(pooling="mean"))
  ids = jnp.asarray(_RNG.integers(0, 5, (3, 6)), jnp.int32)
  params = module.init(jax.random.key(0), ids, deterministic=True)["params"]
  params = with_data({**params, "encoder": _params(module.encoder)}, _DATA)
  params = jax.tree.map(jnp.asarray, params)
  content = {name: params.pop(name) for name in module.constants}
  assert content["content"].dtype == np.int32
  weights = jnp.asarray(_RNG.normal(size=(3, 6, _D)), jnp.float32)

  def loss(method):
    def of(params):
      variables = {"params": {**params, **content}}
      found = module.apply(variables, ids, deterministic=True, method=method)
      found = found[0] if method == "__call__" else found
      return jnp.sum(weights * found**2)

    return jax.jit(jax.value_and_grad(of))(params)

  once, each = loss("__call__"), loss("vectors")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    once,
    each,
  )
  words = np.asarray(once[1]["encoder"]["words"]["embedding"])
  read = np.zeros(_WORDS, bool)
  read[_TOKENS[np.unique(ids)]] = True
  read[0] = False
  np.testing.assert_array_equal(np.abs(words).max(axis=1) > 0, read)


def test_words_of_another_width_are_projected():
  encoder = _encoder(word_width=4)
  content = jnp.zeros((1, _T), jnp.int32)
  params = encoder.init(jax.random.key(0), content, deterministic=True)
  narrow = _RNG.normal(size=(_WORDS, 4)).astype(np.float32)
  params = encoder.with_data(params["params"], _DATA._replace(words=narrow))
  params = jax.tree.map(jnp.asarray, params)
  found = encoder.apply(
    {"params": params}, jnp.asarray(_TOKENS), deterministic=True
  )
  # As of wide words that are the projected ones, behind a norm of no effect.
  scale = np.sqrt((narrow**2).mean(axis=1, keepdims=True) + 1e-6)
  wide = narrow / scale @ params["words_in"]["kernel"]
  own = {**params, "words": {"embedding": wide}}
  own.pop("words_in")
  size = np.sqrt((wide**2).mean(axis=1))
  for row, tokens in enumerate(_TOKENS):
    words = np.unique(tokens[tokens > 0])
    if len(words) == 1:
      # One scalar then makes up for the norm.
      own["norms_0"] = {"scale": np.full(_D, size[words[0]])}
      wanted = _in_numpy(own, tokens[tokens > 0], "first")
      np.testing.assert_allclose(found[row], wanted, atol=2e-5)
  with pytest.raises(ValueError, match=r"of shape \(11, 4\)"):
    encoder.with_data(params, _DATA)


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (
      _DATA._replace(words=None),
      "come with none: set its num_words and w",
    ),
    (_DATA._replace(words=_DATA.words[:-1]), r"come with \(10, 6\)"),
  ],
)
def test_words_that_do_not_fit_are_refused(data, message):
  with pytest.raises(ValueError, match=message):
    _encoder().with_data({}, data)


def test_vectors_are_no_tokens():
  table = {"content": np.zeros((_V + 1, _T), np.int32)}
  data = _DATA._replace(content=np.zeros((_V + 1, _T), np.float32))
  with pytest.raises(ValueError, match="item_content to 'text_tokens'"):
    with_data(table, data)
  table = {"content": np.zeros((_V + 1, _T), np.float32)}
  with pytest.raises(ValueError, match="item_content to 'vectors'"):
    with_data(table, _DATA)


def test_another_pooling_is_refused():
  with pytest.raises(ValueError, match="must be 'first' or 'mean'"):
    _encoder(pooling="last")
