# SPDX-License-Identifier: Apache-2.0
"""RQ-VAE on the texts of the items of your own event log.

    python scripts/run.py --config=configs/rqvae_files.py --workdir=runs/codes \
        --config.data.path=events.csv --config.data.user=visitor \
        --config.data.item=sku --config.data.timestamp=when \
        --config.data.items_path=items.csv --config.data.items_item=sku \
        --config.data.items_title=name

makes vectors of the items' texts (TF-IDF and a truncated SVD) and trains on
them; configs/tiger_files.py:rqvae trains it first, on the same data and
vectors. The rest is configs/rqvae_amazon.py's: levels of 256 codes want at
least as many items with training events, those of `small` 32. Some minutes on
one CPU core.

Variants: `quicktest`; `seen_items` and `three_levels`, as in
configs/rqvae_amazon.py; `small` (levels of 32 codes, 300 steps).
"""

from ml_collections import ConfigDict

from configs import common, files, rqvae_amazon

_VARIANTS = ("quicktest", "seen_items", "three_levels", "small")
# What variants change of the model.
_CHANGES = {
  "seen_items": "seen items",
  "three_levels": "three levels",
  "small": "small",
}


def get_config(arg: str = "") -> ConfigDict:
  """Titles alone, until a template says more."""
  variants = common.variants(arg, _VARIANTS)
  c = rqvae_amazon.get_config("-".join(variants - {"small", "quicktest"}))
  c.name = "-".join(["rqvae_files", *sorted(variants - {"quicktest"})])
  c.title = common.title("RQ-VAE", variants, _CHANGES)
  c.data = files.data()
  c.content = files.item_texts(small="small" in variants)
  c.pipeline.layout.width = c.system.vector_width = c.content.encoder.width
  if "small" in variants:
    quantizer = c.system.quantizer
    quantizer.level_sizes = (32,) * len(quantizer.level_sizes)
    quantizer.width = 16
    c.system.widths = (64, 32)
    c.pipeline.row_length = 32
    c.train.update(steps=300, eval_every_steps=100)
  if "quicktest" in variants:
    rqvae_amazon.quicktest(c)
  return c
