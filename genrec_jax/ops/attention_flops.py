# SPDX-License-Identifier: Apache-2.0
"""FLOPs of attention from its shapes, for kernels that XLA cannot look into.

Per query-key pair and head, 2 FLOPs per multiply-add:

    forward    q k^T (K) and weights @ v (A)                    2 (K + A)
    backward   the scores again (K), dv (A), dweights (A),
               dq (K) and dk (K)                                2 (3 K + 2 A)

Pairs are those that are computed: a causal kernel skips blocks above the
diagonal and computes the ones on it whole. Bias and SiLU are not counted, as
in every model FLOP count; hlo/cost.py counts products alone likewise.
"""


def causal_pairs(length: int, block: int = 1) -> int:
  """Pairs of one row that a causal kernel of square blocks computes.

  Args:
    length: queries and keys of the row.
    block: side of a block; a length that it does not divide is filled up.
  """
  blocks = -(-length // block)
  return blocks * (blocks + 1) // 2 * block**2


def attention_flops(
  pairs: int, heads: int, key_width: int, value_width: int
) -> int:
  """Of the forward pass over `pairs` query-key pairs of each head."""
  return 2 * pairs * heads * (key_width + value_width)


def attention_backward_flops(
  pairs: int, heads: int, key_width: int, value_width: int
) -> int:
  """Of the backward pass, which computes the scores again."""
  return 2 * pairs * heads * (3 * key_width + 2 * value_width)
