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

Variants: `quicktest`; `decoder_only`; `small` (decoder-only, width 64, 300
steps).
"""

from ml_collections import ConfigDict

from configs import common, files, tiger_amazon

_VARIANTS = ("quicktest", "decoder_only", "small")


def get_config(arg: str = "") -> ConfigDict:
  """Titles alone, until a template says more."""
  variants = common.variants(arg, _VARIANTS)
  decoder_only = bool(variants & {"decoder_only", "small"})
  c = tiger_amazon.get_config("decoder_only" if decoder_only else "")
  c.name = "-".join(["tiger_files", *sorted(variants - {"quicktest"})])
  if "small" in variants:
    c.title = "TIGER (decoder-only, small)"
  c.data = files.data()
  c.content.template = "{title}"
  c.content.encoder = ConfigDict(
    {
      "name": "content.TfidfSvd",
      "width": 128,
      "min_texts": 2,
      "max_words": 20_000,
      "pairs": True,
      "seed": 0,
      "path": "",
    }
  )
  c.train = files.long_training()
  c.train.eval_users = 2_000
  if "small" in variants:
    _small(c)
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_tokens(c)
  return c


def _small(c: ConfigDict) -> None:
  """Levels of 32 codes, and a Transformer of two layers."""
  c.content.encoder.update(width=16, min_texts=1)
  sizes = (32,) * 3
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
