# SPDX-License-Identifier: Apache-2.0
"""TIGER's causal form on codes of variable length (Beauty by default).

    python scripts/run.py --config=configs/tiger_varlen_amazon.py \
        --workdir=runs/v --config.data.path=amazon2014

trains a dVAE (configs/varlen_amazon.py) and then configs/tiger_amazon.py:
decoder_only on its codes: up to four, and one that numbers the items which
share them. Loss and search are over children, so what an item does not use
costs nothing; it is read all the same, five tokens an item where a packer by
tokens would read the mean length and one. Expected: nothing yet, it was trained
for some steps of its quick form alone, on a CPU core. Variants:

    long, short   of configs/varlen_amazon.py

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common, tiger_amazon

_VARIANTS = ("long", "short", "quicktest")


def get_config(arg: str = "") -> ConfigDict:
  """Beauty."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, ("long", "short"))
  c = tiger_amazon.get_config("decoder_only")
  c.name = "-".join(["tiger_varlen_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title(
    "TIGER (decoder-only, variable length)",
    variants,
    {"long": "long", "short": "short"},
  )
  forms = sorted(variants & {"long", "short"})
  file = ":".join(["configs/varlen_amazon.py", *forms[:1]])
  c.before = {"varlen": file}
  c.tokens.tokenizer = {"name": "experiment.TrainedTokenizer", "workdir": ""}
  _sizes(c, 256, 256)
  c.objective.over_children = True
  c.retrieval = {
    "name": "retrieval.OverChildren",
    "search": c.retrieval.to_dict(),
  }
  # It compares beams with an exact search that is not over children.
  del c.evals["decoding"]
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_texts(c)
    c.before.varlen += "-quicktest" if forms else ":quicktest"
    _sizes(c, 16, 64)
    c.evals.next_item.ks = (1, 5, 10)
    c.retrieval.search.num_beams = 11
  return c


def _sizes(c: ConfigDict, codes: int, last: int) -> None:
  """Four levels of codes, three of which may stop, and one that numbers."""
  sizes = (codes, *(codes + 1,) * 3, last)
  c.tokens.unique.size = last
  c.system.level_sizes = sizes
  c.pipeline.layout.num_levels = len(sizes)
  c.pipeline.layout.num_codes = max(sizes)
