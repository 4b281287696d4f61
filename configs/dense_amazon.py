# SPDX-License-Identifier: Apache-2.0
"""COBRA without codes on an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/dense_amazon.py --workdir=runs/d \
        --config.data.path=amazon2014

makes vectors of the items' texts and trains what is left of
configs/cobra_amazon.py without its codes, at that config's sizes: a history is
read for the vector of the next item, which is an MLP of its text's, and all
items are compared with it. Expected of `negatives` on Beauty, one seed: test
HR@10 .0855 and NDCG@10 .0470 (item-kNN .0716 and .0427) after 3,000 steps, 18
minutes on one CPU core, validation still rising. Variants:

    negatives 1,024 uniform negatives beside the batch's items, logQ corrected
    ids       each item also has a learned vector, added to that of its text
    full      a softmax over all items that training saw, in place of both

Approximate search: scripts/evaluate.py --option=next_item.retriever=scann.
Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import cobra_amazon, common

_VARIANTS = ("negatives", "ids", "full", "quicktest")
# What variants change of the model.
_CHANGES = {
  "negatives": "uniform negatives",
  "ids": "learned item vectors",
  "full": "full softmax",
}


def get_config(arg: str = "") -> ConfigDict:
  """Beauty."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, ("negatives", "full"))
  c = cobra_amazon.get_config("-".join(variants & {"negatives", "ids"}))
  c.name = "-".join(["dense_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("COBRA w/o ID", variants, _CHANGES)
  del c.tokens, c.retrieval, c.evals["search_stages"]
  # An example of that config is its last item too, which this one has labels
  # for.
  max_length = c.pipeline.layout.max_length - 1
  c.pipeline.layout = {"name": "layouts.NextItem", "max_length": max_length}
  old = c.system
  c.system = {
    "name": "models.ContentNextItem",
    "num_positions": max_length,
    **{
      name: old.to_dict()[name]
      for name in (
        *("width", "num_distinct", "with_ids", "stop_gradient_target"),
        *("position_init_std", "dropout", "row_multiple", "dtype"),
        *("item_encoder", "backbone"),
      )
    },
  }
  vector = c.objective.objectives.vector.to_dict()
  if "full" in variants:
    vector = {
      "name": "objectives.FullSoftmax",
      "temperature": vector["temperature"],
      "seen_only": True,
    }
  c.objective = {**vector, "label": "label_BL"}
  common.share_dtype(c)
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_texts(c)
    c.system.num_positions = c.pipeline.layout.max_length
    c.system.item_encoder.update(content_width=24, hidden_widths=(16,))
    c.evals.next_item.ks = (1, 5, 10)
  return c
