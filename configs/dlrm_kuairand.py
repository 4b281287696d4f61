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
author and its tag before, and what came of it; `windows` adds how often the
video, its author and its tag were shown lately, and what came of it; `content`
adds a vector of the video's texts; `no_history` leaves out the lists from
before the log. `recent` trains on the impressions since 1 May alone, and `lum`
on these, with what a user model of before (configs/lum_kuairand.py, trained
first by scripts/run.py) answers of the user; neither has been trained yet.

Differences from the paper: numbers come as percentile buckets, so that no MLP
over dense features is needed; AdamW for tables too.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, kuairand
from genrec_jax.core.build import build

# What rankers of this log may read beside, or be trained on.
MORE = ("affinity", "windows", "content", "recent", "lum")
CHANGES = {
  "affinity": "affinity features",
  "windows": "window statistics",
  "content": "content vectors",
  "lum": "answers of LUM",
}
_VARIANTS = ("quicktest", "no_history", "fm", *MORE)
# Of the user model's vectors.
_ANSWER_WIDTH = 64


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
  _give_vectors(c, variants)
  return c


def _give_vectors(c: ConfigDict, variants: Set[str]) -> None:
  """What others have made of users and items, in the variants that read it."""
  common.exclusive(variants, ("recent", "lum"))
  quick, given = "quicktest" in variants, {}
  if variants & {"recent", "lum"}:
    asked = kuairand.QUICK_ASKED if quick else kuairand.ASKED
    c.pipeline.layout.since = asked[0]
    if not quick:
      # The user model's data, on which the two can be compared in pairs.
      c.data.scene = True
      c.train = kuairand.train_options(steps=400, half_epoch=31)
  if "lum" in variants:
    c.before = {"lum": "configs/lum_kuairand.py"}
    c.user_vectors = {
      "directory": "",
      "workdir": "",
      "checkpoint": "latest",
      "cuts": asked,
    }
    given["queries"] = kuairand.QUICK_QUERIES if quick else kuairand.QUERIES
    given["width"] = _ANSWER_WIDTH
    if quick:
      common.quick_before(c)
  if "content" in variants:
    given["content_width"] = kuairand.add_content(c, variants)
  if given:
    c.pipeline.layout.vectors = {"name": "layouts.VectorColumns", **given}
    c.system.vectors = {
      "name": "layers.VectorFeatures",
      **dict.fromkeys(("answers", "scores", "item"), "lum" in variants),
      "content": "content" in variants,
    }


def kuairand_rows(name: str, variants: Set[str], system: dict) -> ConfigDict:
  """Any system that reads rows of features."""
  c = kuairand.kuairand(name, variants)
  c.pipeline = {
    "layout": {
      "name": "layouts.PointwiseRows",
      "features": kuairand.feature_list(
        "affinity" in variants, "windows" in variants
      ),
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
    _quicktest(c, variants)
  match_features(c)
  return c


def _quicktest(c: ConfigDict, variants: Set[str]) -> None:
  kuairand.quicktest(c)
  c.pipeline.layout.update(
    features=kuairand.quick_feature_list("windows" in variants),
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
  changes = {**CHANGES, "fm": "factorization machine"}
  c.title = common.title("DLRM", variants, changes)
  return c
