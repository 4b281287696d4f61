# SPDX-License-Identifier: Apache-2.0
"""RQ-VAE on the item texts of an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/rqvae_amazon.py \
        --workdir=runs/rqvae --config.data.path=amazon2014

makes vectors of the items' texts (MiniLM, 384 wide) and trains on them, as
scripts/train.py does once WORKDIR/vectors is there. Codes are moving averages
that start as clusters; a code hardly used moves to a vector of the batch. TIGER
has three levels, codes by gradient, and Adagrad for 20,000 epochs.
Expected on Beauty (12,101 items, 12,080 different texts), one seed: every level
100 % used, 98.6 % of the items with codes of their own, all of them after a
random last level; .62 of the vectors' variance explained. 8 minutes on 1 of 2
busy CPU cores. Other recipes: docs/token_claims.md.

Variants:

    seen_items    trains on items with training events alone, so that a cold
                  item stays one for whatever is built on the codes
    three_levels  leaves room for a level that tells items apart
    plain         random codes at the start, by gradient, never moved: collapses
    contrastive   pulls together what stands side by side in training histories
    engagement    a second stage: `seen_items` (trained first, WORKDIR/rqvae)
                  goes on with that loss at weight 1 and a tenth of the learning
                  rate, 500 steps, and then codes are assigned anew

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common

_VARIANTS = (
  "seen_items",
  "three_levels",
  "plain",
  "contrastive",
  "engagement",
  "quicktest",
)
# What variants change of the model.
_CHANGES = {
  "seen_items": "seen items",
  "three_levels": "three levels",
  "plain": "plain",
  "contrastive": "contrastive",
  "engagement": "tuned on engagement",
}


def get_config(arg: str = "") -> ConfigDict:
  """Four levels of 256 codes, 32 wide."""
  variants = common.variants(arg, _VARIANTS)
  engagement = "engagement" in variants
  c = ConfigDict()
  c.name = "-".join(["rqvae_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("RQ-VAE", variants, _CHANGES)
  c.seed = 0
  c.prepared = ""
  c.data = {"name": "sources.Amazon2014", "category": "Beauty", "path": ""}
  c.split = common.leave_one_out()
  c.filter = common.filter_options()
  c.content = common.item_texts()
  sizes = (256,) * (3 if "three_levels" in variants else 4)
  plain = "plain" in variants
  c.pipeline = {
    "layout": {
      "name": "layouts.CatalogRows",
      "width": 384,
      "partners": engagement or "contrastive" in variants,
      "window": 1,
      "min_count": 1 if engagement or "seen_items" in variants else 0,
      "group": 16,
    },
    "batch_size": 8,
    "row_length": 128,
    "readers": 1,
  }
  c.system = {
    "name": "models.RQVAE",
    "vector_width": 384,
    "widths": (512, 256, 128),
    "kmeans_init": not plain,
    "kmeans_sample": 8192,
    "quantizer": {
      "name": "layers.ResidualQuantizer",
      "level_sizes": sizes,
      "width": 32,
      "ema": not plain,
      "decay": 0.99,
      "reset_share": 0.0 if plain else 0.3,
      "sinkhorn": (0.0,) * len(sizes),
      "cumulative": False,
    },
  }
  c.objective = {
    "name": "objectives.Reconstruction",
    "codebook_weight": 1.0,
    "commitment_weight": 0.25,
  }
  if engagement or "contrastive" in variants:
    c.objective.contrastive = {
      "name": "objectives.InBatchContrastive",
      "weight": 1.0 if engagement else 0.1,
      "temperature": 0.1,
      "quantized": True,
    }
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "weight_decay": 1e-4,
    "warmup_steps": 0,
  }
  c.train = common.train_options(steps=2_000, eval_every_steps=500, patience=0)
  c.train.monitor = "explained"
  c.requests = common.request_options()
  c.evals = {"code_quality": {"name": "evaluation.CodeQuality"}}
  c.mesh = common.mesh_options()
  if engagement:
    _second_stage(c, "-three_levels" if "three_levels" in variants else "")
  if "quicktest" in variants:
    quicktest(c)
  return c


def _second_stage(c: ConfigDict, levels: str) -> None:
  """Starts from the parameters of a run that is trained first."""
  c.before = {"rqvae": f"configs/rqvae_amazon.py:seen_items{levels}"}
  c.train.pretrained = {"": {"path": "", "prefix": ""}}
  c.train.update(steps=500, eval_every_steps=100)
  c.optimizer.learning_rate = 1e-4


def quicktest(c: ConfigDict) -> None:
  """Levels of 16 codes, of vectors that need no weights."""
  common.quicktest(c)
  common.quick_texts(c)
  if "rqvae" in c.get("before", {}):
    c.before.rqvae += "-quicktest"
  c.pipeline.layout.width = c.system.vector_width = c.content.encoder.width
  sizes = c.system.quantizer.level_sizes
  c.system.quantizer.level_sizes = (16,) * len(sizes)
