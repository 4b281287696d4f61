# SPDX-License-Identifier: Apache-2.0
"""What every tokenizer must do: code alike alone and together, save, refuse."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.semantic_ids.quantizers import base as tokenizer
from genrec_jax.semantic_ids.quantizers.mlp_quantizer import MlpQuantizer
from genrec_jax.semantic_ids.quantizers.opq import (
  ProductCodes,
  ProductQuantization,
)
from genrec_jax.semantic_ids.quantizers.rq_kmeans import (
  ResidualCodes,
  ResidualKMeans,
)

_OPTIONS = {
  "residual": ResidualKMeans((8, 6, 6), iterations=12),
  "balanced": ResidualKMeans((8, 6, 6), iterations=12, balanced=True),
  "normalized": ResidualKMeans((8, 6, 6), normalize_residuals=True),
  "product": ProductQuantization((8, 6, 6), iterations=12),
}


def _vectors(num=200, width=12, seed=0):
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(width, width)) * 0.7 ** np.arange(width)[:, None]
  return (rng.normal(size=(num, width)) @ mix).astype(np.float32)


@pytest.fixture(scope="module")
def fits():
  return {k: o.fit(_vectors(), seed=0) for k, o in _OPTIONS.items()}


each = pytest.mark.parametrize("name", _OPTIONS)


def _error(fitted, x):
  return np.square(fitted.decode(fitted.encode(x)) - x).sum(axis=1).mean()


@pytest.mark.slow
@each
def test_codes_and_vectors_have_their_shapes(fits, name):
  codes = fits[name].encode(_vectors())
  assert codes.shape == (200, 3) and codes.dtype == np.int32
  assert (codes >= 0).all() and (codes < np.array([[8, 6, 6]])).all()
  assert fits[name].decode(codes).shape == (200, 12)
  assert fits[name].encode(_vectors()[:0]).shape == (0, 3)


@each
def test_codes_explain_most_of_the_variance_of_new_vectors(fits, name):
  new = _vectors(seed=1)
  variance = np.square(new - new.mean(axis=0)).sum(axis=1).mean()
  # The mixing matrix belongs to the seed: only the fitted ones share it.
  assert _error(fits[name], _vectors()) < 0.6 * variance


@each
def test_a_vector_has_the_same_codes_alone_and_among_others(fits, name):
  x = _vectors(2500)
  together = fits[name].encode(x)
  for row in (0, 1023, 1024, 2499):
    alone = fits[name].encode(x[row : row + 1])
    np.testing.assert_array_equal(alone[0], together[row])


@each
def test_the_last_code_is_the_cheapest(fits, name):
  codes, costs = fits[name].encode(_vectors()), None
  costs = fits[name].last_level_costs(_vectors())
  assert costs.shape == (200, 6)
  np.testing.assert_array_equal(costs.argmin(axis=1), codes[:, -1])


@pytest.mark.parametrize("name", ["residual", "balanced", "product"])
def test_vectors_far_from_0_are_coded_as_well(fits, name):
  """Not unit residuals: far from 0 all directions are nearly one."""
  x = _vectors() + np.float32(1e4)
  fitted = _OPTIONS[name].fit(x, seed=0)
  # float32 are 1e-3 apart there.
  assert _error(fitted, x) < 1.2 * _error(fits[name], _vectors()) + 1e-3
  codes = fitted.encode(x)
  for level, costs in enumerate(_exact_costs(fitted, x, codes)):
    chosen = costs[np.arange(200), codes[:, level]]
    assert (chosen - costs.min(axis=1)).max() < 1e-2
  np.testing.assert_allclose(fitted.last_level_costs(x), costs, atol=1e-2)


def _exact_costs(fitted, x, codes):
  """What the codes of each level cost in float64, after the codes before."""
  left, books = x.astype(np.float64), fitted.codebooks
  if isinstance(fitted, ProductCodes):
    parts = np.split((left - fitted.mean) @ fitted.rotation.T, 3, axis=1)
    prices = [np.zeros(len(book)) for book in books]
  else:
    prices = fitted.prices
  for level, book in enumerate(books):
    seen = parts[level] if isinstance(fitted, ProductCodes) else left
    yield np.square(seen[:, None] - book[None]).sum(axis=2) + prices[level]
    left = left - (0 if seen is not left else book[codes[:, level]])


def test_hidden_vectors_far_from_0_are_coded_exactly():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(200, 3)).astype(np.float32)
  book = rng.normal(size=(6, 3)).astype(np.float32) + np.float32(1e4)
  same, far = np.eye(3, dtype=np.float32), np.full(3, 1e4, np.float32)
  fitted = MlpQuantizer(
    width=3,
    level_sizes=(6,),
    mean=0 * far,
    scale=np.float32(1),
    encoder_kernels=(same,),
    encoder_biases=(far,),
    decoder_kernels=(same,),
    decoder_biases=(-far,),
    codebooks=(book,),
  )
  hidden = (x + far[None]).astype(np.float64)
  exact = np.square(hidden[:, None] - book[None]).sum(axis=2)
  np.testing.assert_array_equal(fitted.encode(x)[:, 0], exact.argmin(axis=1))
  np.testing.assert_allclose(fitted.last_level_costs(x), exact, atol=1e-4)


@each
def test_a_saved_tokenizer_is_the_same(fits, name, tmp_path):
  fits[name].save(tmp_path)
  back = type(fits[name]).load(tmp_path)
  assert back.fingerprint == fits[name].fingerprint
  assert back.level_sizes == (8, 6, 6)
  x = _vectors()
  np.testing.assert_array_equal(back.encode(x), fits[name].encode(x))
  codes = fits[name].encode(x)
  np.testing.assert_array_equal(back.decode(codes), fits[name].decode(codes))


@each
def test_the_seed_decides(fits, name):
  again = _OPTIONS[name].fit(_vectors(), seed=0)
  assert again.fingerprint == fits[name].fingerprint
  other = _OPTIONS[name].fit(_vectors(), seed=1)
  assert other.fingerprint != fits[name].fingerprint


def test_damage_and_other_kinds_are_refused(fits, tmp_path):
  with pytest.raises(ValueError, match="holds no tokenizer"):
    tokenizer.load(tmp_path)
  fits["residual"].save(tmp_path)
  with pytest.raises(ValueError, match="a ResidualCodes, not a ProductCodes"):
    ProductCodes.load(tmp_path)
  path = tmp_path / "tokenizer.npz"
  path.write_bytes(path.read_bytes()[:-7])
  with pytest.raises(ValueError, match="damaged"):
    ResidualCodes.load(tmp_path)


@each
def test_a_level_larger_than_the_catalogue_is_refused(name):
  with pytest.raises(ValueError, match="larger than the catalogue.* 7 vectors"):
    _OPTIONS[name].fit(_vectors(7), seed=0)


@each
def test_vectors_that_are_not_finite_are_refused(fits, name):
  x = _vectors()
  x[3, 0] = np.nan
  with pytest.raises(ValueError, match="1 of 200 vectors .* row 3"):
    _OPTIONS[name].fit(x, seed=0)
  with pytest.raises(ValueError, match="row 3"):
    fits[name].encode(x)


@each
def test_other_widths_and_codes_are_refused(fits, name):
  with pytest.raises(ValueError, match="width 12, these have 11"):
    fits[name].encode(_vectors(width=11))
  with pytest.raises(ValueError, match="code 6 in row 1 is outside level 2"):
    fits[name].decode(np.array([[0, 0, 0], [0, 6, 0]], np.int32))
  with pytest.raises(ValueError, match="2 levels"):
    fits[name].decode(np.zeros((1, 2), np.int32))


@pytest.mark.slow
def test_each_residual_level_brings_the_error_down():
  x, errors = _vectors(), []
  for levels in (1, 2, 3, 4):
    fitted = ResidualKMeans((8,) * levels).fit(x, seed=0)
    errors.append(_error(fitted, x))
  assert all(b < 0.9 * a for a, b in zip(errors, errors[1:], strict=False))


def test_the_prefix_of_a_residual_code_does_not_depend_on_later_levels():
  x = _vectors()
  long, short = (
    ResidualKMeans((8,) * n).fit(x, seed=0).encode(x) for n in (3, 2)
  )
  np.testing.assert_array_equal(long[:, :2], short)


@pytest.mark.slow
def test_the_learned_rotation_is_orthogonal_and_pays():
  x = _vectors(400)
  fixed, learned = (
    ProductQuantization((8, 8, 8), rotations=n).fit(x, seed=0) for n in (0, 20)
  )
  np.testing.assert_allclose(
    learned.rotation @ learned.rotation.T, np.eye(12), atol=1e-5
  )
  assert _error(learned, x) < _error(fixed, x)


def test_parts_must_divide_the_width():
  with pytest.raises(ValueError, match="width 12 into 5"):
    ProductQuantization((2,) * 5).fit(_vectors(), seed=0)


def test_options_are_plain_values():
  for options in _OPTIONS.values():
    assert isinstance(options, tokenizer.Tokenizer)
    assert dataclasses.asdict(options)["level_sizes"] == (8, 6, 6)
