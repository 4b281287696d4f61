# SPDX-License-Identifier: Apache-2.0
"""DIN on KuaiRand-Pure: the history seen from the candidate (KDD 2018).

    python scripts/train.py --config=configs/din_kuairand.py \
        --workdir=runs/din --config.data.path=kuairand-pure

Expected test AUC of click, long_view and like on 6-8 May 2022, three seeds:
.7241, .7271, .8780. One minute on two CPU cores.

Features and data are configs/dlrm_kuairand.py's. The last 50 events are
weighted by how they go with the candidate, without a softmax, as published; all
vectors go through an MLP side by side.

Variants: `softmax` takes one over the history, as the authors' public code
does; `outer` lets the weights read the outer product of event and candidate, as
the paper draws it (their code: difference and product); `no_history`,
`affinity`, `windows`, `content`, `recent` and `lum` are those of the DLRM
config.

Differences from the paper: ReLU instead of Dice and no regularisation by
mini-batch; event vectors hold what the user did, too.
"""

from ml_collections import ConfigDict

from configs import common
from configs.dlrm_kuairand import CHANGES, MORE, kuairand_features

_VARIANTS = ("quicktest", "no_history", "softmax", "outer", *MORE)


def get_config(arg: str = "") -> ConfigDict:
  """Weights without a softmax, from differences and products."""
  variants = common.variants(arg, _VARIANTS)
  kind = "OuterProduct" if "outer" in variants else "DifferenceProduct"
  pooling = {
    "name": "layers.TargetAttention",
    "widths": (80, 40),
    "pair": {"name": f"layers.{kind}"},
    "softmax": "softmax" in variants,
    "dtype": "float32",
  }
  interactions = {"name": "layers.Concat"}
  c = kuairand_features("din_kuairand", variants, pooling, interactions)
  changes = {**CHANGES, "softmax": "softmax", "outer": "outer products"}
  c.title = common.title("DIN", variants, changes)
  return c
