# SPDX-License-Identifier: Apache-2.0
"""HSTU on half of MovieLens-1M: what negatives and an ensemble are worth.

    python scripts/train.py --workdir=runs/shared \
        --config=configs/commerce_movielens.py:shared-k1024 \
        --config.data.path=ml-1m-users-1-2999.zip

The data and the model of configs/hstu_movielens_half.py with both biases, and
one variant per lever of configs/commerce.py: those of negatives (128 of each
position's own without one), of the ensemble and of time, and the control of
times, `shuffled`. Nobody rates a film twice, so histories are hidden. Expected
without a variant: what that config measures, 20 minutes on a busy CPU core, one
of two; no lever is measured yet.
"""

from ml_collections import ConfigDict

from configs import commerce, common, hstu_movielens_half

_VARIANTS = ("quicktest", *commerce.ALL, *commerce.CONTROLS)


def get_config(arg: str = "") -> ConfigDict:
  """Both biases, 128 negatives of each position's own."""
  variants = common.variants(arg, _VARIANTS)
  commerce.check_levers(variants)
  c = hstu_movielens_half.get_config()
  c.name = "-".join(["commerce_movielens", *sorted(variants - {"quicktest"})])
  commerce.read_times(c, "HSTU", variants, default=("bias",))
  commerce.compare(c, variants)
  commerce.beside_others(c, variants)
  if "quicktest" in variants:
    common.quicktest(c)
  return c
