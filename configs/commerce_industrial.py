# SPDX-License-Identifier: Apache-2.0
"""HSTU of a large shop's size: 5,000,000 items, rows of 1,024 events.

    python scripts/compile_tpu.py --config=configs/commerce_industrial.py \
        --topology=v5e:4x4
    python scripts/train.py --config=configs/commerce_industrial.py:files \
        --workdir=/mnt/shared/shop --config.data.path=events.parquet

8 layers of width 256, rotary time and both biases, 8,192 negatives that a batch
shares. No size of the published system is known; the table of 5 million rows of
256 is another author's guess. Rows of the table lie split over all chips, and
its optimizer touches those of a batch alone.

Expected: no run is finished, here or elsewhere; what a step takes is in
docs/commerce.md, compiled on a CPU core.

Variants: `full` compares with all items, in blocks, in place of 8,192 (every
row has a gradient then, and the optimizer is a dense one); `files` reads your
own log (fields as in configs/hstu_files.py) instead of the simulator, whose
num_items stands for the catalogue's size.
"""

from ml_collections import ConfigDict

from configs import common, hstu_trillion

_VARIANTS = ("quicktest", "full", "files")
_LENGTH = 1_024
_WIDTH = 256
_HEADS = 4
_ROWS = 128


def get_config(arg: str = "") -> ConfigDict:
  """128 rows of 1,024 events."""
  variants = common.variants(arg, _VARIANTS)
  c = hstu_trillion.get_config("files" if "files" in variants else "")
  c.name = "-".join(["commerce_industrial", *sorted(variants - {"quicktest"})])
  c.title = common.title("HSTU", variants, {"full": "all items in its loss"})
  if "files" not in variants:
    c.data.update(num_users=5_000_000, num_items=5_000_000)
  c.pipeline.layout.max_length = c.pipeline.row_length = _LENGTH
  c.pipeline.update(batch_size=_ROWS, readers=16)
  c.system.update(
    width=_WIDTH, row_width=_WIDTH, row_multiple=4_096, num_positions=_LENGTH
  )
  c.system.backbone.update(
    num_layers=8,
    num_heads=_HEADS,
    key_width=_WIDTH // _HEADS,
    value_width=_WIDTH // _HEADS,
    num_positions=_LENGTH,
    rotary=common.rotary_time(),
  )
  c.system.backbone.attention.normalizer = float(_LENGTH)
  c.requests.batch_size = _ROWS
  if "full" in variants:
    c.objective = {"name": "objectives.FullSoftmax", "temperature": 0.05}
    c.optimizer = c.optimizer.dense.to_dict()
  if "quicktest" in variants:
    common.quicktest(c)
    # A quick head has few pairs of features to turn.
    c.system.backbone.rotary.geometric = 2
  return c
