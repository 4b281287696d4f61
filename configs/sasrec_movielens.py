# SPDX-License-Identifier: Apache-2.0
"""SASRec on MovieLens, the baseline of arXiv 2402.17152 (research code).

    python scripts/train.py --config=configs/sasrec_movielens.py \
        --workdir=runs/sasrec --config.data.path=ml-1m.zip

Expected on ML-1M, last event of each user, full ranking, stable sort: HR@10
.300, NDCG@10 .169 (`order_only`, one seed). 100 epochs took 76 minutes on 2
busy CPU cores. Measured figures are in docs/results.md.

Same data, loss, negatives and optimizer as configs/hstu_movielens.py; variants
`100k`, `20m`, `global_time` and `order_only` as there. Differences from the
published code: see there.
"""

from ml_collections import ConfigDict

from configs import common, hstu_movielens

_VARIANTS = ("quicktest", "global_time", "order_only", "100k", "20m")


def get_config(arg: str = "") -> ConfigDict:
  """ML-1M, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  c = hstu_movielens.get_config("-".join(variants - {"quicktest"}))
  c.name = "-".join(["sasrec_movielens", *sorted(variants - {"quicktest"})])
  c.title = common.title("SASRec", variants, {"20m": "4 layers"})
  sasrec(c, *((256, 4, 4) if "20m" in variants else (50, 2, 1)))
  if "quicktest" in variants:
    common.quicktest(c)
  return c


def sasrec(c: ConfigDict, width: int, layers: int, heads: int) -> None:
  """Makes the backbone of a config SASRec's."""
  c.system.position_init_std = width**-0.5
  c.system.backbone = ConfigDict(
    {
      "name": "backbones.ResearchSASRec",
      "num_layers": layers,
      "num_heads": heads,
      "ffn_width": width,
      "dropout": 0.2,
    }
  )
  common.share_dtype(c)
