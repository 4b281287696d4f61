# SPDX-License-Identifier: Apache-2.0
"""How precise the products are that scores come from.

An accelerator's default rounds the factors of a float32 product: a TPU to 8
bits of mantissa (bfloat16), a recent GPU to 11 (TF32). A score of 20, as that
of a cosine over a temperature of .05, is then off by up to .08: items tie or
change places, log-sums of many scores drift, and what a model was trained on is
not what ranks. So whatever makes logits of a loss, their gradients, or the
scores of a ranking has its products in full float32:

    objectives, heads of rankers and of codes, exact retrieval     SCORES
    all layers before them                         the default, by their dtype

On a TPU this takes six passes of the matrix unit where float32 is multiplied,
and one as ever where both factors are bfloat16. A CPU always computes so.
"""

from jax import lax

SCORES = lax.Precision.HIGHEST
