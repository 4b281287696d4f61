# SPDX-License-Identifier: Apache-2.0
"""DLRM on KuaiRand-Pure: what a user does with a shown video (1906.00091).

    python scripts/train.py --config=configs/dlrm_kuairand.py \
        --workdir=runs/dlrm --config.data.path=kuairand-pure

Expected test AUC of click, long_view and like on 6-8 May 2022, three seeds:
.7230, .7249, .8711. Half a minute on two CPU cores.

25 features of video, user and moment, and the last 50 events, summed; the dot
products of all pairs go through an MLP. What DIN, DCN-v2 and Wukong share with
it is made here: their configs replace `pooling` and `interactions`, and two
towers the system. Data, split and features: configs/kuairand.py.

Variants: `fm` takes the sum of products of pairs in place of their dots
(Rendle, ICDM 2010); `affinity` adds how often the user met the video, its
author and its tag before, and what came of it; `no_history` leaves out the
lists from before the log.

Differences from the paper: numbers come as percentile buckets, so that no MLP
over dense features is needed; AdamW for tables too.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, kuairand
from genrec_jax.core.build import build

_VARIANTS = ("quicktest", "no_history", "affinity", "fm")


def match_features(c: ConfigDict) -> None:
  """Makes the system's tables those of the layout's features."""
  layout = build(c.pipeline.layout)
  sides = ("item_columns", "request_columns", "audience_columns")
  for name in (
    *("feature_rows", "history_columns", "num_actions", "num_tasks"),
    *(n for n in sides if n in c.system),
  ):
    c.system[name] = getattr(layout, name)


def kuairand_features(
  name: str, variants: Set[str], pooling: dict, interactions: dict
) -> ConfigDict:
  """A pointwise ranker of shown videos."""
  system = {
    "name": "models.FeatureRanker",
    "width": 16,
    "pooling": pooling,
    "interactions": interactions,
    "tower_widths": (128, 64),
    "dropout": 0.1,
    "row_multiple": 1,
    "dtype": "float32",
  }
  c = kuairand_rows(name, variants, system)
  for part in (c.system.pooling, c.system.interactions):
    if "dtype" in part:
      part.dtype = c.system.get_ref("dtype")
  return c


def kuairand_rows(name: str, variants: Set[str], system: dict) -> ConfigDict:
  """Any system that reads rows of features."""
  c = kuairand.kuairand(name, variants)
  c.pipeline = {
    "layout": {
      "name": "layouts.PointwiseRows",
      "features": kuairand.feature_list("affinity" in variants),
      "history_features": kuairand.HISTORY,
      "feedback": kuairand.feedback(kuairand.TASKS),
      "shown": kuairand.feedback(kuairand.SHOWN),
      "max_length": 32,
      "history_length": 50,
      "num_candidates": 4,
      "utc_offset_hours": 8.0,
    },
    "batch_size": 16,
    "row_length": 64,
    "readers": 1,
  }
  c.system = system
  c.train = kuairand.train_options(steps=1000, half_epoch=80)
  if "quicktest" in variants:
    _quicktest(c)
  match_features(c)
  return c


def _quicktest(c: ConfigDict) -> None:
  kuairand.quicktest(c)
  c.pipeline.layout.update(
    features=kuairand.quick_feature_list(),
    history_features=kuairand.QUICK_HISTORY,
    shown=kuairand.feedback(("view", *kuairand.QUICK_TASKS)),
    history_length=8,
  )


def get_config(arg: str = "") -> ConfigDict:
  """Summed history, dots of pairs."""
  variants = common.variants(arg, _VARIANTS)
  kind = "FactorizationMachine" if "fm" in variants else "DotInteraction"
  c = kuairand_features(
    "dlrm_kuairand",
    variants,
    {"name": "layers.SumPooling"},
    {"name": f"layers.{kind}"},
  )
  changes = {"affinity": "affinity features", "fm": "factorization machine"}
  c.title = common.title("DLRM", variants, changes)
  return c
