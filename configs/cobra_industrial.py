# SPDX-License-Identifier: Apache-2.0
"""COBRA at its published industrial size: 2,000,000 items, 32 x 32 codes.

    python scripts/compile_tpu.py --config=configs/cobra_industrial.py \
        --topology=v5e:4x4
    python scripts/run.py --config=configs/cobra_industrial.py:files \
        --workdir=/mnt/shared/cobra --config.data.path=events.parquet

8 layers of width 768 over three tokens an item (arXiv 2503.02453, section 4,
says items, codes and no more; 12 heads, histories of 64 items and the encoder's
sizes are ours). Items are encoded within the step from their first 32 word
pieces, each distinct one of a batch once, by a Transformer of one layer;
16,400 are as many as a batch can hold. Tokens of texts lie split by rows over
all chips, and so do the vectors that a search reads.

Expected: no run is finished, here or elsewhere; what a step takes on 16 v5e
chips is in results/cobra_industrial-v5e-4x4.json, compiled on a CPU core.

Variants: `files` reads your own log (fields as in configs/hstu_files.py)
instead of the simulator, whose num_items stands for the catalogue's size.
"""

from ml_collections import ConfigDict

from configs import cobra_amazon, common, files

_VARIANTS = ("quicktest", "files")

_WIDTH = 768
_HEADS = 12
# MiniLM's own.
_WORD_WIDTH = 384
_ITEMS = 64


def get_config(arg: str = "") -> ConfigDict:
  """128 rows of 128 items, 8 to a chip of 16."""
  variants = common.variants(arg, _VARIANTS)
  c = cobra_amazon.get_config("text-negatives")
  c.name = "-".join(["cobra_industrial", *sorted(variants - {"quicktest"})])
  c.title = "COBRA (words)"
  c.data = {
    "name": "simulator.Synthetic",
    "num_users": 5_000_000,
    "num_items": 2_000_000,
    "seed": 0,
  }
  if "files" in variants:
    c.data = files.data()
  c.split = common.global_time()
  sizes = (32, 32)
  c.text_tokens = common.text_tokens(_WORD_WIDTH)
  c.tokens.tokenizer.level_sizes = c.system.level_sizes = sizes
  c.pipeline.layout.update(max_length=_ITEMS, num_levels=len(sizes))
  c.pipeline.update(batch_size=128, row_length=2 * _ITEMS, readers=16)
  c.system.update(
    width=_WIDTH,
    num_positions=_ITEMS,
    # A batch's events, and padding, filled up to what chips divide.
    num_distinct=2 * _ITEMS * 128 + 16,
    # Rows are filled up to blocks that chips divide.
    row_multiple=65_536,
    dropout=0.1,
    dtype="bfloat16",
  )
  c.system.backbone.update(
    width=_WIDTH,
    num_layers=8,
    num_heads=_HEADS,
    head_width=_WIDTH // _HEADS,
    ffn_width=4 * _WIDTH,
    dropout=0.1,
  )
  c.system.item_encoder.update(
    width=_WIDTH,
    word_width=_WORD_WIDTH,
    num_heads=_HEADS,
    head_width=_WIDTH // _HEADS,
    ffn_width=4 * _WIDTH,
    dtype=c.system.get_ref("dtype"),
  )
  c.objective.objectives.vector.negatives.count = 8_192
  c.optimizer.update(learning_rate=1e-4, warmup_steps=1_000)
  c.train = common.train_options(
    steps=100_000, eval_every_steps=5_000, patience=0
  )
  c.train.eval_users = 10_240
  c.requests.batch_size = 128
  c.retrieval.update(num_beams=20, num_neighbors=100, num_results=100)
  c.mesh.preset = "rowwise_tables"
  if "quicktest" in variants:
    _quick(c)
  return c


def _quick(c: ConfigDict) -> None:
  """A hundred simulated items of 8 x 8 codes, narrow."""
  common.quicktest(c)
  common.quick_texts(c)
  common.quick_words(c)
  sizes = (8, 8)
  c.tokens.tokenizer.level_sizes = c.system.level_sizes = sizes
  c.system.update(num_distinct=None, row_multiple=16, width=64)
  c.system.num_positions = c.pipeline.layout.max_length
  c.system.backbone.update(width=64, num_heads=2, head_width=32, ffn_width=64)
  c.system.item_encoder.update(
    width=32, num_heads=2, head_width=16, ffn_width=64
  )
  c.objective.objectives.vector.negatives.count = 32
  c.evals.next_item.ks = (1, 5, 10)
  c.evals.search_stages.ks = (10,)
  c.retrieval.update(num_beams=11, num_results=11, num_neighbors=11)
