# SPDX-License-Identifier: Apache-2.0
"""Draws items through the trie: temperature and top-p at every level.

    q(c | prefix) ~ p(c | prefix)^(1 / T)     over codes that lead to an item,
                                              the smallest set with mass >= P

Unlike a beam's scores, q is renormalised over the trie: a draw never leaves it.
Draws are independent, so an item may come up twice. A temperature per level
changes how far the coarse or the fine codes vary (Rajput et al., arXiv
2305.05065, section 4.4: the first one changes the mix of categories most).
Randomness is one typed key per request; its draws do not depend on the batch.
"""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from genrec_jax.decoding.candidates import candidates, count_items, nth_item
from genrec_jax.decoding.decoder import Decoder, log_probs
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie


def sample_items(
  decoder: Decoder,
  trie: Trie,
  keys_B: Key[Array, "B"],
  num_samples: int,
  *,
  temperature: float | Sequence[float] = 1.0,
  top_p: float = 1.0,
  allowed: ItemBits | None = None,
) -> tuple[
  Int[Array, "B {num_samples}"],
  Float[Array, "B {num_samples}"],
  Int[Array, "B {num_samples} {trie.num_levels}"],
]:
  """Returns ids, scores and codes of items drawn for each request.

  Scores are the model's own log p(codes), of temperature 1. Among allowed
  items that share all codes one is drawn uniformly. A request without any:
  id 0, score -inf, codes 0.

  Args:
    decoder: the model, having read the requests.
    trie: of the items.
    keys_B: a typed key per request, such as jax.random.split(key, B).
    num_samples: draws per request.
    temperature: T > 0, one for all levels or one for each.
    top_p: P in (0, 1]; 1 keeps all codes.
    allowed: items that each request may get; None = all.

  Raises:
    ValueError: a temperature, top_p or num_samples outside its range.
  """
  temperatures = temperatures_of(temperature, trie.num_levels)
  check_draws(num_samples, top_p)
  cache, logits_BC = decoder.start()
  shape = (logits_BC.shape[0], num_samples)
  logp_BKC = log_probs(logits_BC, 0, trie.level_sizes)[:, None]
  logp_BKC = jnp.broadcast_to(logp_BKC, (*shape, logp_BKC.shape[2]))
  states_BK = jnp.zeros(shape, jnp.int32)
  scores_BK = jnp.zeros(shape, jnp.float32)
  # Before level 1 a request has one state.
  parents_BK = jnp.zeros(shape, jnp.int32)
  for level, level_temperature in enumerate(temperatures):
    if level:
      codes_BK = trie.code[level - 1][states_BK]
      cache, logits_BKC = decoder.step(cache, level, codes_BK, parents_BK)
      logp_BKC = log_probs(logits_BKC, level, trie.level_sizes)
      samples_K = jnp.arange(num_samples, dtype=jnp.int32)
      parents_BK = jnp.broadcast_to(samples_K[None], shape)
    logp_BKJ = candidates(trie, level, states_BK, logp_BKC, allowed)
    columns_BK = jax.vmap(draw, (0, 0, None, None))(
      _fold_in(keys_B, level), logp_BKJ, level_temperature, top_p
    )
    drawn_BK = jnp.take_along_axis(logp_BKJ, columns_BK[..., None], axis=2)
    scores_BK = scores_BK + drawn_BK[..., 0]
    states_BK = trie.child(level, states_BK, columns_BK)
  ids_BK = _draw_item(
    trie, _fold_in(keys_B, trie.num_levels), states_BK, allowed
  )
  there_BK = scores_BK > -jnp.inf
  return (
    jnp.where(there_BK, ids_BK, 0),
    jnp.where(there_BK, scores_BK, -jnp.inf),
    jnp.where(there_BK[..., None], trie.codes(states_BK), 0),
  )


def check_draws(num_samples: int, top_p: float) -> None:
  """Raises a ValueError where no samples can be drawn so."""
  if not 0 < top_p <= 1 or num_samples < 1:
    raise ValueError(
      f"top_p is {top_p} and num_samples {num_samples}; top_p lies in (0, 1]"
      " and at least one sample is drawn"
    )


def temperatures_of(
  temperature: float | Sequence[float], levels: int
) -> tuple[float, ...]:
  """One for each level, above 0 and finite; ValueError where not."""
  each = (
    tuple(temperature)
    if isinstance(temperature, Sequence)
    else (temperature,) * levels
  )
  if len(each) != levels or not all(0 < t < math.inf for t in each):
    raise ValueError(
      f"temperature is {temperature}; it needs one finite number above 0, or"
      f" {levels}, one for each level. For the best item use a beam."
    )
  return each


def _fold_in(keys_B: Array, level: int) -> Array:
  return jax.vmap(jax.random.fold_in, (0, None))(keys_B, level)


def draw(
  key: Key[Array, ""],
  logp_KJ: Float[Array, "K J"],
  temperature: float | Array,
  top_p: float,
) -> Int[Array, "K"]:
  """A column for each row; any one where all are -inf."""
  logits_KJ = logp_KJ / temperature
  order_KJ = None
  if top_p < 1:
    order_KJ = jnp.argsort(logits_KJ, axis=1, descending=True)
    logits_KJ = jnp.take_along_axis(logits_KJ, order_KJ, axis=1)
    p_KJ = jax.nn.softmax(logits_KJ, axis=1)
    # A code is kept while the better ones do not have the mass themselves.
    better_KJ = jnp.cumsum(p_KJ, axis=1) - p_KJ
    logits_KJ = jnp.where(better_KJ < top_p, logits_KJ, -jnp.inf)
  columns_K = jax.random.categorical(key, logits_KJ, axis=1)
  if order_KJ is not None:
    columns_K = jnp.take_along_axis(order_KJ, columns_K[:, None], axis=1)[:, 0]
  return columns_K.astype(jnp.int32)


def _draw_item(
  trie: Trie, keys_B: Array, leaves_BK: Array, allowed: ItemBits | None
) -> Array:
  """An allowed item of each leaf, all alike."""
  if trie.max_group == 1:
    return trie.items_N[
      nth_item(
        trie, trie.first_item[-1][leaves_BK], jnp.zeros_like(leaves_BK), allowed
      )
    ]
  count_BK = jnp.maximum(count_items(trie, leaves_BK, allowed), 1)
  nth_BK = jax.vmap(
    lambda key, count_K: jax.random.randint(key, count_K.shape, 0, count_K)
  )(keys_B, count_BK)
  low_BK = trie.first_item[-1][leaves_BK]
  return trie.items_N[nth_item(trie, low_BK, nth_BK, allowed)]
