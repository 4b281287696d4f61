# SPDX-License-Identifier: Apache-2.0
"""LIGER on an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/liger_amazon.py --workdir=runs/l \
        --config.data.path=amazon2014

makes vectors of the items' texts, codes of the vectors, and trains one causal
Transformer on two losses: codes of the next item, and the cosine of a vector
with those of all items that training saw. Beams of codes and the cold items are
ranked by that vector. Expected on Beauty: nothing yet of these sizes; a smaller
form of `cold_start` has HR@10 .052 and .028 to .038 for new items after 1,000
steps, 20 minutes on a CPU core (docs/fusion_claims.md). Variants:

    no_cold     the items of the beams alone
    cold_start  5 % of the items have no training events
    encoder_decoder  TIGER's T5 is the host, as published: every prefix is read
                apart, 4 s a step of 32 rows for the host alone; for an
                accelerator
    ids         each item also has a learned vector, added to that of its text
    last_20     histories are cut to 20 events first, as LIGER's authors do

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common, tiger_amazon

_VARIANTS = (
  "no_cold",
  "cold_start",
  "last_20",
  "encoder_decoder",
  "ids",
  "quicktest",
)
# What variants change of the model.
_CHANGES = {"no_cold": "no cold items", "ids": "learned item vectors"}


def get_config(arg: str = "") -> ConfigDict:
  """Beauty."""
  variants = common.variants(arg, _VARIANTS)
  apart = "encoder_decoder" in variants
  c = tiger_amazon.get_config("" if apart else "decoder_only")
  if apart:
    c.pipeline.layout.with_items = True
  c.name = "-".join(["liger_amazon", *sorted(variants - {"quicktest"})])
  host = "encoder-decoder" if apart else "decoder-only"
  c.title = common.title(f"LIGER ({host})", variants, _CHANGES)
  if "cold_start" in variants:
    c.filter.hold_out_items = 0.05
  if "last_20" in variants:
    c.filter.last_events = 20
  width = c.system.width
  del c.system["name"]
  c.system = {
    "name": "models.LigerSeq2Seq" if apart else "models.Liger",
    **c.system.to_dict(),
    "num_distinct": None,
    "with_ids": "ids" in variants,
    "stop_gradient_target": False,
    "row_multiple": 1,
    "item_encoder": {
      "name": "layers.ContentMlp",
      "content_width": 384,
      "width": width,
      "hidden_widths": (256,),
      "dropout": 0.0,
    },
  }
  c.retrieval = {
    "name": "retrieval.BeamUnion",
    "num_results": 64,
    "num_beams": 64,
    "with_cold": "no_cold" not in variants,
  }
  c.objective = {
    "name": "objectives.WeightedSum",
    "objectives": {
      "codes": c.objective.to_dict(),
      "vector": {
        "name": "objectives.FullSoftmax",
        "temperature": 0.07,
        "label": "target_item_BS",
        "seen_only": True,
      },
    },
    "weights": {"codes": 1.0, "vector": 1.0},
  }
  del c.evals["decoding"]
  c.evals.search_stages = common.search_stages()
  common.share_dtype(c)
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_tokens(c)
    c.system.item_encoder.update(content_width=24, hidden_widths=(16,))
    c.retrieval.num_results = 11
    c.evals.search_stages.ks = (10,)
  return c
