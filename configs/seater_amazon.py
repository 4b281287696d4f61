# SPDX-License-Identifier: Apache-2.0
"""SEATER on an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/seater_amazon.py --workdir=runs/s \
        --config.data.path=amazon2014

makes vectors of the items' texts, a balanced tree of them (12 children a node,
4 levels: as many tokens as TIGER's items have), and trains TIGER's causal
Transformer (configs/tiger_amazon.py:decoder_only) on paths: a vector for every
node, the loss over the children of the true node alone, children drawn to
their parents, and paths ranked by the prefix that they share with the target
(both with weight .05). Expected on Beauty: nothing yet; seconds on a CPU core
for the tree, no training was finished. Variants:

    plain          the loss over children alone
    collaborative  the tree is that of texts joined with SASRec's item vectors,
                   trained first (published: those alone)

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common, tiger_amazon

_VARIANTS = ("plain", "collaborative", "quicktest")
# What variants change of the model.
_CHANGES = {"plain": "no tree losses", "collaborative": "collaborative tree"}


def get_config(arg: str = "") -> ConfigDict:
  """Beauty."""
  variants = common.variants(arg, _VARIANTS)
  joined = "-collaborative" if "collaborative" in variants else ""
  c = tiger_amazon.get_config(f"decoder_only{joined}")
  c.name = "-".join(["seater_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("SEATER (decoder-only)", variants, _CHANGES)
  _tree(c, branch=12, levels=4)
  c.system.name = "models.TreeDecoder"
  del c.system["tied"]
  children = {**c.objective.to_dict(), "over_children": True}
  if "plain" in variants:
    c.objective = children
  else:
    c.pipeline.layout.name = "layouts.TreeHistory"
    c.pipeline.layout.ranked = 4
    c.objective = _with_tree_losses(children)
  beam = c.retrieval.to_dict()
  c.retrieval = {"name": "retrieval.OverChildren", "search": beam}
  # It compares beams with an exact search that is not over children.
  del c.evals["decoding"]
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_texts(c)
    _tree(c, branch=5, levels=3)
    if joined:
      c.before.sasrec += ":quicktest"
    c.evals.next_item.ks = (1, 5, 10)
    c.retrieval.search.num_beams = 11
  return c


def _tree(c: ConfigDict, branch: int, levels: int) -> None:
  """Codes of a tree, and a model of as many."""
  sizes = (branch,) * levels
  c.tokens.tokenizer = {
    "name": "quantizers.BalancedTree",
    "branch": branch,
    "iterations": 10,
  }
  # Of items that come later: a leaf that is free beside the nearest one.
  c.tokens.unique = {
    "name": "semantic_ids.RandomLastLevel",
    "seed": 0,
    "share_overflow": True,
  }
  c.system.level_sizes = sizes
  c.pipeline.layout.num_levels = levels
  c.pipeline.layout.num_codes = branch


def _with_tree_losses(codes: dict) -> dict:
  return {
    "name": "objectives.WeightedSum",
    "objectives": {
      "codes": codes,
      "alignment": {
        "name": "objectives.ChildAlignment",
        "temperature": 0.2,
        "num_items": 256,
      },
      "ranking": {"name": "objectives.PrefixRanking", "margin": 0.001},
    },
    "weights": {"codes": 1.0, "alignment": 0.05, "ranking": 0.05},
  }
