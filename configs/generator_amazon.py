# SPDX-License-Identifier: Apache-2.0
"""A generator of collaborative codes on an Amazon 2014 category (Beauty).

    python scripts/run.py --config=configs/generator_amazon.py \
        --workdir=runs/g --config.data.path=amazon2014

trains a SASRec, makes codes of its item vectors joined with those of texts, and
trains a generator of these codes: histories are items with a vector each beside
their codes, and the codes of the next item come from one state, one after the
other. Lists are ordered by the probability of codes alone. Expected on Beauty,
three seeds: test HR@10 .0815 to .0826, NDCG@10 .0484 to .0497 (item-kNN .0716
and .0427, TIGER's decoder-only form here .0635 and .0350) at steps 5,100 to
6,600 of 8,100 to 8,400, 40 minutes on one CPU core behind the SASRec's 40 (93
and 130 beside other work). Of `fused`, one seed: .0791 and .0462 at step 3,000,
half an hour. Variants:

    text_codes  codes of texts alone, without a SASRec
    no_items    inputs are codes alone, without a vector per item
    hstu        the HSTU backbone, told when the next event happens
    hstu_order  the HSTU backbone without times
    vector      a vector of the history too, trained by a softmax over all
                items; beams of codes are ranked by it and by their probability
    fused       2 x 32 codes, of 12 items each on average, and a vector behind
                them, as in COBRA: beams and their items nearest to it

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common, hstu_amazon, sasrec_amazon

_VARIANTS = (
  "text_codes",
  "no_items",
  "hstu",
  "hstu_order",
  "vector",
  "fused",
  "quicktest",
)
# What variants change of the model.
_CHANGES = {
  "text_codes": "codes of texts",
  "no_items": "codes as inputs",
  "hstu": "HSTU",
  "hstu_order": "HSTU, no time bias",
  "vector": "codes and a vector",
  "fused": "coarse codes, then a vector",
}


def get_config(arg: str = "") -> ConfigDict:
  """Beauty."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, ("hstu", "hstu_order"))
  common.exclusive(variants, ("no_items", "vector", "fused"))
  if "hstu" in variants:
    c = hstu_amazon.get_config()
  elif "hstu_order" in variants:
    c = hstu_amazon.get_config("no_time")
  else:
    c = sasrec_amazon.get_config()
  c.name = "-".join(["generator_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("Generator of codes", variants, _CHANGES)
  c.content = common.item_texts()
  fused = "fused" in variants
  sizes = (32, 32) if fused else (256,) * 4
  if fused:
    c.tokens = common.item_tokens(sizes)
  else:
    c.tokens = common.item_tokens(sizes[:-1], sizes[-1])
  if "text_codes" not in variants:
    common.join_trained_items(c, "sasrec", "configs/sasrec_amazon.py")
  c.pipeline.layout = {
    "name": "layouts.NextItemCodes",
    "max_length": c.system.num_positions,
    "num_levels": len(sizes),
  }
  width, dropout = 128, 0.3
  c.system.update(
    name="models.ItemCodeDecoder",
    level_sizes=sizes,
    width=width,
    normalize=False,
    embedding_scale=1.0,
    embedding_init_std=0.05,
    dropout=dropout,
    hidden_width=4 * width,
    item_inputs="no_items" not in variants,
    code_inputs=True,
    head_dropout=dropout,
  )
  backbone = c.system.backbone
  backbone.dropout = dropout
  if "ffn_width" in backbone:
    backbone.ffn_width = 4 * width
  else:
    backbone.key_width = backbone.value_width = width // backbone.num_heads
  c.objective = ConfigDict(
    {
      "name": "objectives.CodeCrossEntropy",
      "temperature": 1.0,
      "label_smoothing": 0.0,
    }
  )
  c.retrieval = {"name": "retrieval.Beam", "num_beams": 64}
  c.optimizer.weight_decay = 0.05
  c.train.eval_users = 2_000
  c.train.steps = 12_000
  # Validation rests for 1,500 steps and rises again.
  c.train.patience = 10
  c.evals = {"next_item": {**common.next_item(), "ks": (1, 5, 10, 20, 50)}}
  vector = variants & {"vector", "fused"}
  if vector:
    _with_vector(c, "codes" if fused else "history")
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_tokens(c)
    if vector:
      c.evals.search_stages.ks = (10,)
  return c


def _with_vector(c: ConfigDict, vector_from: str) -> None:
  """The hybrid: both losses, and a search that knows both."""
  temperature = 0.07
  c.system.update(
    name="models.ItemCodeVectorDecoder",
    vector_from=vector_from,
    # See configs/sasrec_amazon.py on small vectors.
    embedding_init_std=0.0125,
    embedding_scale=4.0,
  )
  c.objective = {
    "name": "objectives.WeightedSum",
    "objectives": {
      "codes": c.objective.to_dict(),
      "vector": {
        "name": "objectives.FullSoftmax",
        "temperature": temperature,
      },
    },
    "weights": {"codes": 1.0, "vector": 1.0},
  }
  if vector_from == "history":
    c.retrieval = {
      "name": "retrieval.BeamUnion",
      "num_results": 64,
      "num_beams": 64,
      "with_cold": False,
      # As much as the cosines' own softmax.
      "code_weight": temperature,
    }
  else:
    c.retrieval = {
      "name": "retrieval.BeamFusion",
      "num_results": 64,
      "num_beams": 64,
      "num_neighbors": 20,
      # Probabilities of codes, times those of a cluster's items.
      "beam_scale": 1.0,
      "vector_scale": 1 / temperature,
      "over": "cluster",
      "clusters": "auto",
      "max_cluster": 4096,
      "approximate_above": None,
    }
  c.evals.search_stages = common.search_stages()
