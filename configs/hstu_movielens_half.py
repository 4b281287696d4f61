# SPDX-License-Identifier: Apache-2.0
"""HSTU on half of MovieLens-1M: what the relative time bias is worth.

    python scripts/train.py --config=configs/hstu_movielens_half.py \
        --workdir=runs/half --config.data.path=ml-1m-users-1-2999.zip

configs/hstu_movielens.py on a file of fewer users, with half its rows per
batch. Expected on users 1-2999: NDCG@10 .199 with both biases, .175 by
`no_time` and .166 by `no_bias`; 20 minutes each on 1 of 2 busy CPU cores, one
seed.
"""

from ml_collections import ConfigDict

from configs import common, hstu_movielens

_VARIANTS = ("quicktest", "no_time", "no_bias")


def get_config(arg: str = "") -> ConfigDict:
  """76 epochs of 46 steps, or until 15 epochs bring no better validation."""
  variants = common.variants(arg, _VARIANTS)
  c = hstu_movielens.get_config(arg)
  c.name = c.name.replace("hstu_movielens", "hstu_movielens_half")
  if "quicktest" not in variants:
    c.pipeline.batch_size = 36
    c.train.steps = 3500
    c.train.patience = 5
  return c
