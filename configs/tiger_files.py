# SPDX-License-Identifier: Apache-2.0
"""TIGER on your own event log: semantic IDs from the texts of your items.

    python scripts/run.py --config=configs/tiger_files.py --workdir=runs/own \
        --config.data.path=events.csv --config.data.user=visitor \
        --config.data.item=sku --config.data.timestamp=when \
        --config.data.items_path=items.csv --config.data.items_item=sku \
        --config.data.items_title=name \
        --config.content.template="{title}. {category}"

makes vectors of the items' texts, codes of the vectors, and trains the
generator on them. The template names the title and attributes of the item
table. Vectors are TF-IDF and a truncated SVD, which need no weights;
--config.content.encoder.path is for those of a fit that was saved. The rest is
configs/tiger_amazon.py's: the encoder-decoder wants an accelerator (4 s a step
on one CPU core), `decoder_only` reads every user once. Codes are 3 levels of
256 by residual k-means and one that tells items apart, so there must be 256
items with training events; `small` wants 32.

Variants: `quicktest`; `decoder_only`; `rqvae` (codes of an RQ-VAE,
configs/rqvae_files.py, trained first); `small` (decoder-only, width 64, 300
steps).
"""

from ml_collections import ConfigDict

from configs import common, files, tiger_amazon

_VARIANTS = ("quicktest", "decoder_only", "rqvae", "small")
# What variants change of the model.
_CHANGES = {
  "decoder_only": "decoder-only",
  "rqvae": "RQ-VAE",
  "small": "small",
}


def get_config(arg: str = "") -> ConfigDict:
  """Titles alone, until a template says more."""
  variants = common.variants(arg, _VARIANTS)
  small = "small" in variants
  kinds = variants - {"quicktest", "small"}
  if small:
    kinds.add("decoder_only")
  c = tiger_amazon.get_config("-".join(kinds))
  c.name = "-".join(["tiger_files", *sorted(variants - {"quicktest"})])
  c.title = common.title("TIGER", kinds | variants, _CHANGES)
  c.data = files.data()
  c.content = files.item_texts(small=small)
  if "rqvae" in variants:
    form = "seen_items-three_levels" + ("-small" if small else "")
    c.before = {"rqvae": f"configs/rqvae_files.py:{form}"}
  c.train = files.long_training()
  c.train.eval_users = 2_000
  if small:
    _small(c)
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_tokens(c)
  return c


def _small(c: ConfigDict) -> None:
  """Levels of 32 codes, and a Transformer of two layers."""
  sizes = (32,) * 3
  if "before" not in c:
    c.tokens.tokenizer.level_sizes = sizes
  c.tokens.unique.size = 64
  c.system.level_sizes = (*sizes, 64)
  length, width = 32, 64
  c.pipeline.layout.max_length = c.pipeline.row_length = length
  c.pipeline.batch_size = 32
  c.system.update(width=width, num_positions=length, dropout=0.1)
  c.system.backbone.update(
    width=width,
    num_layers=2,
    num_heads=2,
    head_width=32,
    ffn_width=2 * width,
    dropout=0.1,
  )
  c.retrieval.num_beams = 32
  for name in ("next_item", "decoding"):
    c.evals[name].ks = (1, 5, 10)
  c.evals.decoding.users = 100
  c.optimizer.update(learning_rate=3e-3, warmup_steps=50)
  files.short_training(c)
