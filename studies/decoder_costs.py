# SPDX-License-Identifier: Apache-2.0
"""Counted FLOPs of three decoders at the published sizes of OneRec-V2.

    python studies/decoder_costs.py
    python studies/decoder_costs.py --context=3000 --ffn_matrices=3

A forward pass of one target of three codes behind a context, without the heads
of the vocabulary, by genrec_jax/ops/decoder_flops.py; tests hold that against
compiled programs. The encoder-decoder has half of the layers on each side.
Published figures (arXiv 2508.20900, table 2) are of 512 tokens of context, and
what they count is not said. Runs in a second.
"""

import argparse

from genrec_jax.ops.decoder_flops import (
  ContextSizes,
  LayerSizes,
  causal_decoder_flops,
  encoder_decoder_flops,
  lazy_decoder_flops,
)

# Name -> layers, width, heads.
SIZES = {
  "0.1B": (12, 640, 10),
  "0.2B": (12, 896, 14),
  "0.5B": (14, 1408, 11),
  "1B": (18, 1792, 14),
  "2B": (22, 2304, 18),
  "4B": (26, 2944, 23),
  "8B": (34, 3584, 28),
}
# GFLOPs as published: lazy, encoder-decoder, causal.
PUBLISHED = {
  "0.1B": (1.98, 25.6, 63.8),
  "0.5B": (9.55, 142.7, None),
  "1B": (18.9, 296.0, None),
}
FORMS = ("lazy", "encoder-decoder", "causal")
_TOKENS = 3


def gflops(
  size: str, context: int = 512, ffn_matrices: int = 2
) -> tuple[float, float, float]:
  """Of the three forms, in the order of FORMS.

  Args:
    size: a name of SIZES.
    context: tokens that are read.
    ffn_matrices: 3 = a gated feed-forward part.
  """
  layers, width, heads = SIZES[size]
  layer = LayerSizes(width, heads, width // heads, 4 * width, ffn_matrices)
  target = {"context": context, "targets": 1, "tokens": _TOKENS}
  found = (
    lazy_decoder_flops(layer, ContextSizes(width), num_layers=layers, **target),
    encoder_decoder_flops(
      layer,
      num_encoder_layers=layers // 2,
      num_decoder_layers=layers - layers // 2,
      **target,
    ),
    causal_decoder_flops(layer, num_layers=layers, length=context + _TOKENS),
  )
  return tuple(x / 1e9 for x in found)


def table(context: int = 512, ffn_matrices: int = 2) -> str:
  """A line per size: counted GFLOPs, and the published ones."""
  lines = [
    f"GFLOPs of a forward pass, {context} tokens of context",
    f"{'':6}" + "".join(f"{form:>17}" for form in FORMS) + "   published",
  ]
  for size in SIZES:
    cells = [f"{x:>17.2f}" for x in gflops(size, context, ffn_matrices)]
    known = PUBLISHED.get(size, ())
    said = ", ".join("-" if x is None else f"{x:g}" for x in known)
    lines.append(f"{size:6}{''.join(cells)}   {said}")
  return "\n".join(lines)


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--context", type=int, default=512)
  parser.add_argument("--ffn_matrices", type=int, default=2, choices=(2, 3))
  given = parser.parse_args()
  print(table(given.context, given.ffn_matrices))


if __name__ == "__main__":
  main()
