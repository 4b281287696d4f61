# SPDX-License-Identifier: Apache-2.0
"""HSTU of published industrial size over 1.5 trillion parameters of items.

    python scripts/compile_tpu.py --config=configs/hstu_trillion.py \
        --topology=v5p:8x8x8
    python scripts/train.py --config=configs/hstu_trillion.py:files \
        --workdir=/mnt/shared/trillion --config.data.path=events.parquet

3 layers, width 512, length 2,048 (arXiv 2402.17152, section 4: the ranking
model; 4 heads of 128 are ours) over 1,470,000,000 items. A row holds 1,024
float32, projected down to the model's width, which makes 1.5e12 parameters with
ids that still fit int32. Rows are split over all chips, their optimizer keeps
one scalar and one step count per row and touches only rows of the batch.

Expected: no run is finished, here or elsewhere; what one step takes on 512 v5p
chips is in results/hstu_trillion-v5p-8x8x8.json, compiled on 2 CPU cores.

Variants: `files` reads your own log (fields as in configs/hstu_files.py)
instead of the simulator, whose num_items stands for the catalogue's size and
which is no sensible way to make a log of that size.
"""

from ml_collections import ConfigDict

from configs import common, files

_VARIANTS = ("quicktest", "files")

_LENGTH = 2_048
_WIDTH = 512
_HEADS = 4


def _system() -> dict:
  """Three layers over wide rows."""
  return {
    "name": "models.NextItem",
    "width": _WIDTH,
    # Rows are filled up to what 512 chips divide.
    "row_width": 1_024,
    "row_multiple": 512,
    "num_positions": _LENGTH,
    "dropout": 0.1,
    "dtype": "bfloat16",
    "backbone": {
      "name": "backbones.HSTU",
      "num_layers": 3,
      "num_heads": _HEADS,
      "key_width": _WIDTH // _HEADS,
      "value_width": _WIDTH // _HEADS,
      "num_positions": _LENGTH,
      "position_bias": True,
      "time_bias": True,
      "dropout": 0.1,
      "attention": {
        "name": "layers.SiluAttention",
        "normalizer": float(_LENGTH),
      },
    },
  }


def get_config(arg: str = "") -> ConfigDict:
  """Four rows of 2,048 events per chip of 512, 8,192 shared negatives."""
  variants = common.variants(arg, _VARIANTS)
  c = ConfigDict()
  c.name = "-".join(["hstu_trillion", *sorted(variants - {"quicktest"})])
  c.title = "HSTU"
  c.seed = 0
  c.prepared = ""
  c.data = {
    "name": "simulator.Synthetic",
    "num_users": 100_000_000,
    "num_items": 1_470_000_000,
    "seed": 0,
  }
  if "files" in variants:
    c.data = files.data()
  c.split = common.global_time()
  c.filter = common.filter_options()
  c.pipeline = {
    "layout": {"name": "layouts.NextItem", "max_length": _LENGTH},
    "batch_size": 2_048,
    "row_length": _LENGTH,
    "readers": 128,
  }
  c.system = _system()
  c.objective = {
    "name": "objectives.SampledSoftmax",
    "temperature": 0.05,
    "negatives": {
      "name": "objectives.UniformShared",
      "count": 8_192,
    },
  }
  c.optimizer = {
    "name": "train.DenseAndRowwise",
    "dense": {
      "name": "train.adamw",
      "learning_rate": 1e-3,
      "b2": 0.98,
      "warmup_steps": 1_000,
    },
    "tables": {
      "name": "train.RowwiseAdamW",
      "learning_rate": 1e-3,
      # No first moment: it would be an array as large as the table.
      "b1": 0.0,
      "b2": 0.98,
      "warmup_steps": 1_000,
    },
  }
  c.train = common.train_options(
    steps=100_000, eval_every_steps=5_000, patience=0
  )
  c.train.eval_users = 10_240
  c.requests = common.request_options()
  c.evals = {"next_item": common.next_item()}
  c.requests.batch_size = 512
  c.mesh = common.mesh_options()
  c.mesh.preset = "rowwise_tables"
  common.share_dtype(c)
  if "quicktest" in variants:
    common.quicktest(c)
  return c
