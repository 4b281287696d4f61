# SPDX-License-Identifier: Apache-2.0
"""HSTU on an Amazon 2014 category (Beauty by default).

    python scripts/train.py --config=configs/hstu_amazon.py --workdir=runs/h \
        --config.data.path=amazon2014

Data, loss and optimizer of configs/sasrec_amazon.py with the HSTU backbone and
both biases. Times have day resolution, so the time bias sees whole days.
Expected on Beauty: HR@10 .097, NDCG@10 .059 told the time of the target, .082
and .048 without (asked at the last event's time plus the median gap); best at
step 6,300 of 7,800, 28 minutes on 1 of 2 busy CPU cores, one seed. That was
with batch_size=32, embedding_init_std=.05 and embedding_scale=1; what is set
here now was measured with SASRec alone.

Variants: `no_time`, `no_bias` switch biases off.
"""

from ml_collections import ConfigDict

from configs import common, sasrec_amazon

_VARIANTS = ("quicktest", "no_time", "no_bias")


def get_config(arg: str = "") -> ConfigDict:
  """Beauty at width 64, 2 layers, 2 heads."""
  variants = common.variants(arg, _VARIANTS)
  c = sasrec_amazon.get_config()
  c.name = "-".join(["hstu_amazon", *sorted(variants - {"quicktest"})])
  changes = {"no_time": "no time bias", "no_bias": "no biases"}
  c.title = common.title("HSTU", variants, changes)
  width, length = c.system.width, c.system.num_positions
  c.system.backbone = ConfigDict(
    {
      "name": "backbones.HSTU",
      "num_layers": 2,
      "num_heads": 2,
      "key_width": width // 2,
      "value_width": width // 2,
      "num_positions": length,
      "position_bias": "no_bias" not in variants,
      "time_bias": not variants & {"no_time", "no_bias"},
      "dropout": c.system.dropout,
      "attention": {
        "name": "layers.SiluAttention",
        "normalizer": float(length),
      },
    }
  )
  common.share_dtype(c)
  if "quicktest" in variants:
    common.quicktest(c)
  return c
