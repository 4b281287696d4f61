# SPDX-License-Identifier: Apache-2.0
"""SASRec on your own event log: CSV, TSV, Parquet or JSON lines, also .gz.

    python scripts/train.py --config=configs/sasrec_files.py \
        --workdir=runs/own --config.data.path=events.csv \
        --config.data.user=visitor --config.data.item=sku \
        --config.data.timestamp=when

Data, loss, negatives and training are those of configs/hstu_files.py, and only
the backbone differs (that of configs/sasrec_movielens.py): it reads the order
of events and no times. A table of items (`items_path`) gives titles.
docs/your_data.md shows the columns whole; 2 CPU cores will do.

Variants: `quicktest`; `small` (a notebook's: width 32, 300 steps);
`global_time` splits at two moments instead of leaving one out.
"""

from ml_collections import ConfigDict

from configs import common, files, hstu_files, sasrec_movielens

_VARIANTS = ("quicktest", "small", "global_time")


def get_config(arg: str = "") -> ConfigDict:
  """Width 50, 2 layers, 200 events."""
  variants = common.variants(arg, _VARIANTS)
  c = hstu_files.get_config("-".join(variants & {"global_time"}))
  c.name = "-".join(["sasrec_files", *sorted(variants - {"quicktest"})])
  c.title = common.title("SASRec", variants, {"small": "small"})
  sasrec_movielens.sasrec(c, 50, 2, 1)
  if "small" in variants:
    files.small_next_item(c)
    c.system.backbone.ffn_width = c.system.width
  if "quicktest" in variants:
    common.quicktest(c)
  return c
