# SPDX-License-Identifier: Apache-2.0
"""DCN-v2 on KuaiRand-Pure: explicit products of features (2008.13535).

    python scripts/train.py --config=configs/dcn_kuairand.py \
        --workdir=runs/dcn --config.data.path=kuairand-pure

Expected test AUC of click, long_view and like on 6-8 May 2022, three seeds:
.7285, .7328, .8770. Half a minute on two CPU cores.

Features and data are configs/dlrm_kuairand.py's, the history summed. Three
cross layers, and an MLP after them (the paper's stacked form).

Variants: `low_rank` factors the cross layers' matrices by rank 64;
`no_history`, `affinity`, `windows`, `content`, `recent` and `lum` are those of
the DLRM config:

    python scripts/run.py --config=configs/dcn_kuairand.py:lum \
        --workdir=runs/dcn_lum --config.data.path=kuairand-pure

trains the user model first, has it asked, and trains DCN-v2 on its answers.

Differences from the paper: no mixture of low-rank experts.
"""

from ml_collections import ConfigDict

from configs import common
from configs.dlrm_kuairand import CHANGES, MORE, kuairand_features

_VARIANTS = ("quicktest", "no_history", "low_rank", *MORE)


def get_config(arg: str = "") -> ConfigDict:
  """Three cross layers of full matrices."""
  variants = common.variants(arg, _VARIANTS)
  interactions = {
    "name": "layers.CrossNetwork",
    "num_layers": 3,
    "rank": 64 if "low_rank" in variants else None,
    "dtype": "float32",
  }
  pooling = {"name": "layers.SumPooling"}
  c = kuairand_features("dcn_kuairand", variants, pooling, interactions)
  changes = {**CHANGES, "low_rank": "low rank"}
  c.title = common.title("DCN-v2", variants, changes)
  return c
