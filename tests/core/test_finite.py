# SPDX-License-Identifier: Apache-2.0
"""What is no number is found, wherever the vectors lie."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
import numpy as np
import pytest

from genrec_jax.core import finite


def _split(vectors):
  mesh = jax.make_mesh((4,), ("items",), devices=jax.devices()[:4])
  return jax.device_put(vectors, NamedSharding(mesh, P("items")))


_PLACES = {
  "numpy": np.asarray,
  "one device": jnp.asarray,
  "half precision": lambda x: jnp.asarray(x, jnp.bfloat16),
  "four devices": _split,
}


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("place", _PLACES)
def test_vectors_that_are_no_numbers_are_refused(monkeypatch, place, on_host):
  if not on_host:
    # As on an accelerator, of which there is none here.
    monkeypatch.setattr(finite, "_on_host", lambda vectors: False)
  vectors = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
  finite.check_vectors(_PLACES[place](vectors), "the queries")
  for value in (np.nan, np.inf, -np.inf):
    broken = vectors.copy()
    broken[6, 2] = value
    with pytest.raises(ValueError, match="the queries .*not finite"):
      finite.check_vectors(_PLACES[place](broken), "the queries")


@pytest.mark.parametrize(("number", "place"), [*enumerate(_PLACES)])
def test_for_vectors_on_the_host_nothing_compiles(caplog, number, place):
  # A shape that no other test has.
  vectors = _PLACES[place](np.ones((4, 83 + number), np.float32))
  with jax.log_compiles(), caplog.at_level("WARNING"):
    finite.check_vectors(vectors, "the queries")
    assert not [r for r in caplog.records if "ompil" in r.message]
    assert jnp.isfinite(vectors).all()
    assert [r for r in caplog.records if "ompil" in r.message]


def test_scores_are_numbers_or_those_of_what_may_not_be_found():
  finite.check_scores(np.array([[1.0, -np.inf]]))
  for value in (np.nan, np.inf):
    with pytest.raises(ValueError, match="the scores .*not finite"):
      finite.check_scores(np.array([[1.0, value]]))
