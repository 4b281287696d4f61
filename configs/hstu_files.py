# SPDX-License-Identifier: Apache-2.0
"""HSTU on your own event log: CSV, TSV, Parquet or JSON lines, also .gz.

    python scripts/train.py --config=configs/hstu_files.py --workdir=runs/own \
        --config.data.path=events.csv --config.data.user=visitor \
        --config.data.item=sku --config.data.timestamp=when

`config.data` maps columns to roles and has every field of
data/sources/files.py. An empty one is not read: `--config.data.timestamp=` for
a log without times. A table of items (`items_path`) gives titles.
docs/your_data.md shows it whole. The model and its hyperparameters are
those of hstu_movielens.py, with two changes that suit catalogues of any size:
1,024 negatives shared by a batch (.40 s a step instead of .50 s at full ML-1M
rows on 2 CPU cores), and stopping by the validation part alone.

Variants: `quicktest`, `small` (a notebook's: width 32, 300 steps), and of
hstu_movielens.py those that switch biases, `rotary`, `calendar` (hours are
those of `--config.data.time_zone`) and `global_time`.
"""

from ml_collections import ConfigDict

from configs import common, files, hstu_movielens

_VARIANTS = (
  "quicktest",
  "small",
  "global_time",
  "no_time",
  "no_bias",
  "softmax",
  "rotary",
  "calendar",
)


def get_config(arg: str = "") -> ConfigDict:
  """HSTU with both biases on sources.Files."""
  variants = common.variants(arg, _VARIANTS)
  shared = variants - {"quicktest", "small"}
  c = hstu_movielens.get_config("-".join(shared))
  c.name = "-".join(["hstu_files", *sorted(variants - {"quicktest"})])
  c.data = files.data()
  c.objective.negatives = {
    "name": "objectives.UniformShared",
    "count": 1024,
  }
  c.train = files.long_training()
  if "small" in variants:
    _small(c)
  if "quicktest" in variants:
    common.quicktest(c)
  return c


def _small(c: ConfigDict) -> None:
  """A model that learns something within a minute on two CPU cores."""
  c.title = "HSTU (small)"
  files.small_next_item(c)
  length, width = c.system.num_positions, c.system.width
  c.system.backbone.update(
    num_positions=length, key_width=width, value_width=width
  )
  if "normalizer" in c.system.backbone.attention:
    c.system.backbone.attention.normalizer = float(length)
