# SPDX-License-Identifier: Apache-2.0
"""DLRM on KuaiRand-Pure: what a user does with a shown video (1906.00091).

    python scripts/train.py --config=configs/dlrm_kuairand.py \
        --workdir=runs/dlrm --config.data.path=kuairand-pure

Expected: not yet measured (AUC, GAUC and NE of click, long_view and like on 6-8
May 2022, by scripts/evaluate.py). Minutes on one CPU core.

25 features of video, user and moment, and the last 50 events, summed; the dot
products of all pairs go through an MLP. What DIN, DCN-v2 and Wukong share with
it is made here: their configs replace `pooling` and `interactions`.

Words: `fm` takes the sum of products of pairs in place of their dots (Rendle,
ICDM 2010); `affinity` adds how often the user met the video, its author and
its tag before, and what came of it; `no_history` leaves out the lists from
before the log.

Differences from the paper: numbers come as percentile buckets, so that no MLP
over dense features is needed; AdamW for tables too.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common
from genrec_jax.core.build import build

_TASKS = ("click", "long_view", "like")
_SHOWN = (*_TASKS, "follow", "comment", "forward", "hate", "profile")
_QUICK_TASKS = ("cart", "purchase")
_WORDS = ("quicktest", "no_history", "affinity", "fm")

_IDS = ("item.id", "item.author_id", "item.music_id")
_CATEGORIES = (
  *("item.tag", "item.video_type", "item.upload_type", "item.music_type"),
  *("user.user_active_degree", "user.register_days_range"),
  *("user.follow_user_num_range", "user.fans_user_num_range"),
  *("user.friend_user_num_range", "user.onehot_feat1", "user.onehot_feat2"),
  *("user.onehot_feat4", "user.onehot_feat7", "context.hour"),
)
# What events of a history have of them.
HISTORY = ("item.id", "item.author_id", "item.tag")
_NUMBERS = ("item.count", "item.video_duration", "context.gap")
_COUNTS = ("context.events", *(f"context.past_{task}" for task in _TASKS))
_AFFINITY = (
  *("affinity.id", "affinity.author_id", "affinity.author_id.long_view"),
  *("affinity.tag", "affinity.tag.long_view", "affinity.tag.like"),
)


def _feature(of: str, encoder: str, **options) -> dict:
  return {
    "name": "data.features.Feature",
    "of": of,
    "encoder": {"name": f"data.feature_encoders.{encoder}", **options},
  }


def kuairand_feature_list(affinity: bool = False) -> tuple[dict, ...]:
  """25 features of video, user and moment, for every ranker; and 6 of both."""
  numbers = (*_NUMBERS, *_COUNTS, *(_AFFINITY if affinity else ()))
  # A value that training met once teaches the row of the unseen.
  return (
    *(_feature(of, "Vocabulary", size=8192, min_count=2) for of in _IDS),
    _feature("user.id", "Vocabulary", size=32_768, min_count=2),
    *(_feature(of, "Vocabulary", size=128) for of in _CATEGORIES),
    *(_feature(of, "Percentiles", buckets=100) for of in numbers),
  )


QUICK_HISTORY = ("item.id", "item.category")


def quick_feature_list() -> tuple[dict, ...]:
  """The same of the simulator's items, users and actions."""
  return (
    _feature("item.id", "Vocabulary", size=100),
    _feature("item.category", "Vocabulary", size=32),
    _feature("item.price", "Percentiles", buckets=20),
    _feature("user.id", "Hashed", size=64),
    _feature("context.hour", "Vocabulary", size=24),
    _feature("context.past_cart", "Percentiles", buckets=20),
  )


def _feedback(tasks: tuple[str, ...]) -> dict:
  return {"name": "data.feedback.Feedback", "tasks": tasks}


def _match(c: ConfigDict) -> None:
  """Makes the system's tables, the loss and the metrics the layout's."""
  layout = build(c.pipeline.layout)
  for name in ("feature_rows", "history_columns", "num_actions", "num_tasks"):
    c.system[name] = getattr(layout, name)
  c.eval.feedback = _feedback(layout.feedback.tasks)
  c.objective.tasks = layout.feedback.tasks


def kuairand_features(
  name: str, words: Set[str], pooling: dict, interactions: dict
) -> ConfigDict:
  """A pointwise ranker on the features above."""
  c = ConfigDict()
  c.name = "-".join([name, *sorted(words - {"quicktest"})])
  c.seed = 0
  c.prepared = ""
  c.data = {
    "name": "data.kuairand.KuaiRand",
    "path": "",
    "history": "no_history" not in words,
  }
  c.split = common.global_time()
  c.split.validation_start = "2022-05-05T00:00:00+08:00"
  c.split.test_start = "2022-05-06T00:00:00+08:00"
  c.filter = common.filter_options()
  c.pipeline = {
    "layout": {
      "name": "data.feature_layouts.PointwiseRows",
      "features": kuairand_feature_list("affinity" in words),
      "history_features": HISTORY,
      "feedback": _feedback(_TASKS),
      "shown": _feedback(_SHOWN),
      "max_length": 32,
      "history_length": 50,
      "num_candidates": 4,
      "utc_offset_hours": 8.0,
    },
    "batch_size": 16,
    "row_length": 64,
    "readers": 1,
  }
  c.system = {
    "name": "systems.feature_ranker.FeatureRanker",
    "width": 16,
    "pooling": pooling,
    "interactions": interactions,
    "tower_widths": (128, 64),
    "dropout": 0.1,
    "row_multiple": 1,
    "dtype": "float32",
  }
  c.objective = {"name": "objectives.pointwise.BinaryCrossEntropy"}
  c.optimizer = {
    "name": "train.optimizers.adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
  }
  # Half an epoch between two looks at the validation part.
  c.train = common.train_options(steps=1000, eval_every_steps=80, patience=2)
  c.train.monitor = "auc"
  c.eval = {
    "name": "train.impression_ranking.ImpressionRanking",
    "batch_size": 256,
  }
  c.value = dict.fromkeys(_TASKS, 1.0)
  c.mesh = common.mesh_options()
  if "quicktest" in words:
    _quicktest(c)
  _match(c)
  for part in (c.system.pooling, c.system.interactions):
    if "dtype" in part:
      part.dtype = c.system.get_ref("dtype")
  return c


def _quicktest(c: ConfigDict) -> None:
  """The simulator's items, users and actions."""
  common.quicktest(c)
  c.split = common.global_time()
  c.value = ConfigDict(dict.fromkeys(_QUICK_TASKS, 1.0))
  c.pipeline.layout.update(
    features=quick_feature_list(),
    history_features=QUICK_HISTORY,
    feedback=_feedback(_QUICK_TASKS),
    shown=_feedback(("view", "cart", "purchase")),
    history_length=8,
  )


def get_config(arg: str = "") -> ConfigDict:
  """Summed history, dots of pairs."""
  words = common.words(arg, _WORDS)
  kind = "FactorizationMachine" if "fm" in words else "DotInteraction"
  return kuairand_features(
    "dlrm_kuairand",
    words,
    {"name": "layers.history_pooling.SumPooling"},
    {"name": f"backbones.interactions.{kind}"},
  )
