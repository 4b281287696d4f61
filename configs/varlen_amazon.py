# SPDX-License-Identifier: Apache-2.0
"""Codes of variable length, of an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/varlen_amazon.py \
        --workdir=runs/varlen --config.data.path=amazon2014

trains a dVAE on vectors of the items' texts: up to four codes of one vocabulary
of 256, drawn by Gumbel-softmax, and a head that says after how many an item
stops (arXiv 2602.16375: five of 4,096, for millions of items). Expected:
nothing yet, it was trained for some steps of its quick form alone, on a
CPU core. configs/tiger_varlen_amazon.py generates them. Variants:

    long   no price on a code (length_weight 0; else 2)
    short  a price of 6

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common, rqvae_amazon

_VARIANTS = ("long", "short", "quicktest")
# What variants change of the model.
_CHANGES = {"long": "long", "short": "short"}


def get_config(arg: str = "") -> ConfigDict:
  """At most four codes of 256, 32 wide."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, ("long", "short"))
  c = rqvae_amazon.get_config("seen_items")
  c.name = "-".join(["varlen_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("Variable-length dVAE", variants, _CHANGES)
  c.system.name = "models.VariableLength"
  c.system.quantizer = {
    "name": "layers.SoftQuantizer",
    "level_sizes": (256, 257, 257, 257),
    "width": 32,
    "first_temperature": 1.0,
    "temperature": 0.5,
    "anneal_steps": 500,
  }
  weight = 0.0 if "long" in variants else 6.0 if "short" in variants else 2.0
  c.objective = ConfigDict(
    {
      "name": "objectives.VariableLengthBound",
      "length_weight": weight,
      "beta": 0.002,
      "warm_steps": 100,
      "free_nats": 2.0,
      "even": 0.1,
    }
  )
  if "quicktest" in variants:
    rqvae_amazon.quicktest(c)
    c.system.quantizer.level_sizes = (16, 17, 17, 17)
  return c
