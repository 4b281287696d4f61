# SPDX-License-Identifier: Apache-2.0
"""Rows of typed tokens written by hand, and small models of them."""

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.hstu import HSTU
from genrec_jax.data.token_sequence import TokenSequence
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.models.token_baseline import TokenBaseline
from tests.data.grammars_by_hand import random_events

WIDTH = 8
# Of all rows: one program of each model serves every test.
LENGTH = 52


def causal(**options):
  """One layer, unless more is asked for."""
  sizes = {"width": WIDTH, "num_layers": 1, "ffn_width": 12, **options}
  heads = {"num_heads": 2, "head_width": 4}
  return CausalTransformer(num_buckets=8, max_distance=12, **heads, **sizes)


def hstu():
  """One layer, which reads times."""
  return HSTU(
    num_layers=1,
    num_heads=2,
    key_width=4,
    value_width=4,
    num_positions=LENGTH,
    position_bias=True,
    time_bias=True,
    attention=SiluAttention(normalizer=float(LENGTH)),
  )


def model(grammar, backbone=None, **options):
  """A small model."""
  backbone = causal() if backbone is None else backbone
  return TokenBaseline(9, grammar, WIDTH, backbone, **options)


def sequence(grammar, rng, count) -> list[int]:
  """Tokens of some events."""
  events = random_events(grammar, rng, count)
  return TokenSequence.of(grammar, events).token_T.tolist()


def packed(grammar, rows, length=LENGTH):
  """A batch of rows, each of one or more lists of tokens.

  Every label is the token behind; times are seconds that grow unevenly.
  """
  shape = (len(rows), length)
  batch = {
    name: np.zeros(shape, np.int32)
    for name in ("token_BL", "segment_ids_BL", "positions_BL", "time_BL")
  }
  batch["label_BL"] = np.zeros(shape, np.int32)
  for row, users in enumerate(rows):
    start = 0
    for number, tokens in enumerate(users):
      mine = slice(start, start + len(tokens))
      batch["token_BL"][row, mine] = tokens
      batch["label_BL"][row, mine] = [*tokens[1:], 0]
      batch["segment_ids_BL"][row, mine] = number + 1
      batch["positions_BL"][row, mine] = range(len(tokens))
      batch["time_BL"][row, mine] = np.arange(len(tokens)) ** 2 * 60
      start += len(tokens)
    assert start <= length, (start, length)
  batch["query_time_BL"] = batch["time_BL"]
  kinds = grammar.type_V
  batch["type_BL"] = kinds[batch["token_BL"]]
  batch["label_type_BL"] = kinds[batch["label_BL"]]
  batch["weight_BL"] = (batch["label_BL"] > 0).astype(np.float32)
  return jax.tree.map(jnp.asarray, batch)


def frozen_time(batch, start):
  """The batch in which all from a place on happens when that place does."""
  time_BL = np.array(batch["time_BL"])
  time_BL[:, start:] = time_BL[:, start - 1 : start]
  return {**batch, "time_BL": time_BL, "query_time_BL": time_BL}


def random_params(system, batch, seed=0):
  """Parameters far from small, so that everything matters."""
  shapes = jax.eval_shape(
    lambda b: system.init(jax.random.key(0), b, deterministic=True), batch
  )
  rng = np.random.default_rng(seed)
  draw = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes
  )
  return draw


def asked_tokens(grammar, rng, count):
  """Tokens of candidates, up to their action."""
  return np.stack(
    [
      [
        grammar.types[kind].start + rng.integers(grammar.types[kind].size)
        for kind in grammar.asked
      ]
      for _ in range(count)
    ]
  ).astype(np.int32)


def prompt(grammar, rng, count) -> list[int]:
  """A history of events, and the context of a request."""
  tokens = sequence(grammar, rng, count)
  return tokens + [
    int(grammar.types[kind].start + rng.integers(grammar.types[kind].size))
    for kind in grammar.group("context")
  ]
