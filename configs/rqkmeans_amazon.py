# SPDX-License-Identifier: Apache-2.0
"""Item tokens by residual k-means, of an Amazon 2014 category (Beauty).

    python scripts/tokenize_items.py --config=configs/rqkmeans_amazon.py \
        --workdir=runs/tokens --config.data.path=amazon2014

Vectors of the items' texts (MiniLM, 384 wide), three levels of 256 codes, and a
level that numbers the items that share all three (TIGER's rule). Nothing is
trained: seconds on 2 CPU cores after the 2 to 3 minutes of the vectors.

Variants:

    balanced      codes of a level are taken about equally often
    normalized    residuals are scaled to unit length before each level
    product       optimised product quantisation: levels side by side
    random_level  four levels, and a seeded free code for items that collide
    sinkhorn      four levels, and the cheapest free codes for them

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common

_VARIANTS = (
  "balanced",
  "normalized",
  "product",
  "random_level",
  "sinkhorn",
  "quicktest",
)
# What variants change of the codes.
_CHANGES = {
  "balanced": "balanced",
  "normalized": "unit residuals",
  "random_level": "random last level",
  "sinkhorn": "Sinkhorn last level",
}


def get_config(arg: str = "") -> ConfigDict:
  """Three levels of 256 codes and one for uniqueness, or four."""
  variants = common.variants(arg, _VARIANTS)
  c = ConfigDict()
  c.name = "-".join(["rqkmeans_amazon", *sorted(variants - {"quicktest"})])
  kind = "OPQ" if "product" in variants else "Residual k-means"
  c.title = common.title(kind, variants, _CHANGES)
  c.seed = 0
  c.prepared = ""
  c.data = {"name": "sources.Amazon2014", "category": "Beauty", "path": ""}
  c.split = common.leave_one_out()
  c.filter = common.filter_options()
  c.content = common.item_texts()
  in_place = variants & {"random_level", "sinkhorn"}
  sizes = (256,) * (4 if in_place else 3)
  c.tokens = common.item_tokens(sizes, 256)
  if "product" in variants:
    c.tokens.tokenizer = {
      "name": "quantizers.ProductQuantization",
      "level_sizes": sizes,
      "rotations": 20,
    }
  else:
    c.tokens.tokenizer.balanced = "balanced" in variants
    c.tokens.tokenizer.normalize_residuals = "normalized" in variants
  if "sinkhorn" in variants:
    c.tokens.unique = {"name": "semantic_ids.SinkhornLastLevel"}
  elif in_place:
    c.tokens.unique = {"name": "semantic_ids.RandomLastLevel", "seed": 0}
  if "quicktest" in variants:
    c.name += "-quicktest"
    c.data = {
      "name": "simulator.Synthetic",
      "num_users": 200,
      "num_items": 100,
      "seed": 0,
    }
    c.filter = common.filter_options()
    common.quick_texts(c)
    c.tokens.tokenizer.level_sizes = (8,) * (len(sizes) - 1) + (64,)
    if not in_place:
      c.tokens.tokenizer.level_sizes = (8,) * len(sizes)
  return c
