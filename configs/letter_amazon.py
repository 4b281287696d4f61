# SPDX-License-Identifier: Apache-2.0
"""LETTER's tokenizer on an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/letter_amazon.py \
        --workdir=runs/letter --config.data.path=amazon2014

makes vectors of the items' texts, trains a SASRec (WORKDIR/sasrec), and an
RQ-VAE on both: its codes reconstruct the text's vector, agree with SASRec's
item vectors (weight .1) and spread alike (1e-4), the last level by Sinkhorn in
training: the authors' weights for Beauty. Neither sees an event of validation
or test; items without a training event take no part. Codes are by gradient, so
that the losses move them; 166 epochs where the authors train 20,000. Expected:
nothing yet, it was trained for some steps of its quick form alone, on a
CPU core. configs/tiger_amazon.py:letter builds on it. Variants:

    codes         alignment moves codes, and not the encoder
    no_alignment  without it
    no_diversity  without it

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common, rqvae_amazon

_VARIANTS = ("codes", "no_alignment", "no_diversity", "quicktest")
# What variants change of the model.
_CHANGES = {
  "codes": "alignment of codes",
  "no_alignment": "no alignment",
  "no_diversity": "no diversity",
}


def get_config(arg: str = "") -> ConfigDict:
  """Four levels of 256 codes, 32 wide."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, ("codes", "no_alignment"))
  c = rqvae_amazon.get_config("seen_items")
  c.name = "-".join(["letter_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("LETTER", variants, _CHANGES)
  c.before = {"sasrec": "configs/sasrec_amazon.py"}
  c.collaborative = {
    "name": "experiment.TrainedItems",
    "workdir": "",
    "checkpoint": "best",
  }
  c.pipeline.layout.collaborative_width = 64
  c.system.update(
    name="models.Letter",
    collaborative_width=64,
    cf_grad="codes" if "codes" in variants else "encoder",
  )
  c.system.quantizer.update(
    name="layers.DiverseQuantizer",
    ema=False,
    reset_share=0.0,
    sinkhorn=(0.0, 0.0, 0.0, 0.003),
    num_groups=10,
    smallest=10,
    largest=60,
    # An epoch of Beauty.
    regroup_steps=12,
  )
  # The authors average over levels what we sum.
  c.objective.codebook_weight /= 4
  c.objective.commitment_weight /= 4
  weights = {
    "rqvae": 1.0,
    "alignment": 0.0 if "no_alignment" in variants else 0.1,
    "diversity": 0.0 if "no_diversity" in variants else 1e-4,
  }
  objectives = {
    "rqvae": c.objective.to_dict(),
    "alignment": {"name": "objectives.CodeAlignment", "temperature": 1.0},
    "diversity": {"name": "objectives.CodeDiversity"},
  }
  kept = [name for name, weight in weights.items() if weight]
  c.objective = {
    "name": "objectives.WeightedSum",
    "objectives": {name: objectives[name] for name in kept},
    "weights": {name: weights[name] for name in kept},
  }
  if "quicktest" in variants:
    rqvae_amazon.quicktest(c)
    c.before.sasrec += ":quicktest"
    c.system.quantizer.update(num_groups=3, smallest=3, largest=8)
  return c
