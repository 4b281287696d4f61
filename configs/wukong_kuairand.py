# SPDX-License-Identifier: Apache-2.0
"""Wukong on KuaiRand-Pure: stacked factorisation machines (2403.02545).

    python scripts/train.py --config=configs/wukong_kuairand.py \
        --workdir=runs/wukong --config.data.path=kuairand-pure

Expected test AUC of click, long_view and like on 6-8 May 2022, three seeds:
.7222, .7257, .8607. Half a minute on two CPU cores.

Features and data are configs/dlrm_kuairand.py's, the history summed. Two
layers, so products of up to four features; 8 vectors of a layer come from
products and 8 are linear.

Variants: `no_history` and `affinity` are those of the DLRM config.

Differences from the paper: AdamW for tables too; Y is not made from the input.
"""

from ml_collections import ConfigDict

from configs import common
from configs.dlrm_kuairand import kuairand_features

_VARIANTS = ("quicktest", "no_history", "affinity")


def get_config(arg: str = "") -> ConfigDict:
  """Two layers."""
  variants = common.variants(arg, _VARIANTS)
  interactions = {
    "name": "layers.Wukong",
    "num_layers": 2,
    "num_products": 8,
    "num_linear": 8,
    "rank": 8,
    "widths": (128,),
    "dtype": "float32",
  }
  pooling = {"name": "layers.SumPooling"}
  c = kuairand_features("wukong_kuairand", variants, pooling, interactions)
  changes = {"affinity": "affinity features"}
  c.title = common.title("Wukong", variants, changes)
  return c
