# SPDX-License-Identifier: Apache-2.0
"""What configs on KuaiRand-Pure share: the log, its tasks and its features.

Split in time at UTC+8: 6 to 8 May 2022 tests, 5 May validates. Every ranker has
the same features, optimizer and patience, and looks at the validation part
every half epoch: no more was tuned for one than for another.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common

TASKS = ("click", "long_view", "like")
# What is read of past actions.
SHOWN = (*TASKS, "follow", "comment", "forward", "hate", "profile")
QUICK_TASKS = ("cart", "purchase")

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
QUICK_HISTORY = ("item.id", "item.category")
_NUMBERS = ("item.count", "item.video_duration", "context.gap")
_COUNTS = ("context.events", *(f"context.past_{task}" for task in TASKS))
# What an item, an author or a tag met with in the last hours and days.
_WINDOWS = (
  *("window.id.6h", "window.id.1d.click", "window.id.3d.long_view"),
  *("window.author_id.3d.click", "window.tag.1d.long_view"),
)
# A user model is trained on what was before, asked from then on, every
# midnight, and read by rankers of later impressions: it knows none of them.
ASKED_FROM = "2022-05-01T00:00:00+08:00"
ASKED = tuple(f"2022-05-{day:02}T00:00:00+08:00" for day in range(1, 9))
# The commonest four of fifteen tabs.
QUERIES = ("scene=1", "scene=0", "scene=4", "scene=2")
QUICK_ASKED = ("2023-07-01", "2023-09-01", "2023-11-01")
QUICK_QUERIES = ("slot=0", "slot=2")
_AFFINITY = (
  *("affinity.id", "affinity.author_id", "affinity.author_id.long_view"),
  *("affinity.tag", "affinity.tag.long_view", "affinity.tag.like"),
)


def feature(of: str, encoder: str, **options) -> dict:
  """A feature by name, and what makes rows of its values."""
  return {
    "name": "features.Feature",
    "of": of,
    "encoder": {"name": f"features.{encoder}", **options},
  }


def feature_list(
  affinity: bool = False, windows: bool = False
) -> tuple[dict, ...]:
  """25 features of video, user and moment, for every ranker; 6 of both, and 5
  of what became of a video lately."""
  numbers = (*_NUMBERS, *_COUNTS, *(_AFFINITY if affinity else ()))
  numbers += _WINDOWS if windows else ()
  # A value that training met once teaches the row of the unseen.
  return (
    *(feature(of, "Vocabulary", size=8192, min_count=2) for of in _IDS),
    feature("user.id", "Vocabulary", size=32_768, min_count=2),
    *(feature(of, "Vocabulary", size=128) for of in _CATEGORIES),
    *(feature(of, "Percentiles", buckets=100) for of in numbers),
  )


def quick_feature_list(windows: bool = False) -> tuple[dict, ...]:
  """The same of the simulator's items, users and actions."""
  more = ("window.id.7d", "window.category.30d.cart") if windows else ()
  return (
    *(feature(of, "Percentiles", buckets=20) for of in more),
    feature("item.id", "Vocabulary", size=100),
    feature("item.category", "Vocabulary", size=32),
    feature("item.price", "Percentiles", buckets=20),
    feature("user.id", "Hashed", size=64),
    feature("context.hour", "Vocabulary", size=24),
    feature("context.past_cart", "Percentiles", buckets=20),
  )


def feedback(tasks: tuple[str, ...]) -> dict:
  """What is predicted, or shown, of an event."""
  return {"name": "dataset.Feedback", "tasks": tasks}


def kuairand(name: str, variants: Set[str]) -> ConfigDict:
  """All but layout, system and how long; those are the caller's."""
  c = ConfigDict()
  c.name = "-".join([name, *sorted(variants - {"quicktest"})])
  c.seed = 0
  c.prepared = ""
  c.data = {
    "name": "sources.KuaiRand",
    "path": "",
    "history": "no_history" not in variants,
  }
  c.split = common.global_time()
  c.split.validation_start = "2022-05-05T00:00:00+08:00"
  c.split.test_start = "2022-05-06T00:00:00+08:00"
  c.filter = common.filter_options()
  c.objective = {
    "name": "objectives.BinaryCrossEntropy",
    "tasks": TASKS,
  }
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
  }
  c.requests = common.request_options(batch_size=256)
  c.evals = {
    "shown_items": {
      "name": "evaluation.ShownItems",
      "feedback": feedback(TASKS),
    }
  }
  c.value = dict.fromkeys(TASKS, 1.0)
  c.mesh = common.mesh_options()
  return c


def add_content(c: ConfigDict, variants: Set[str]) -> int:
  """Vectors of what videos are, from their texts; returns their width."""
  c.content = common.item_texts()
  c.content.template = (
    "author{author_id} music{music_id} tag{tag} {video_type} {upload_type}"
  )
  c.content.encoder = ConfigDict(
    {"name": "content.TfidfSvd", "width": 64, "pairs": False}
  )
  if "quicktest" in variants:
    common.quick_texts(c)
  return c.content.encoder.width


def train_options(steps: int, half_epoch: int) -> dict:
  """Up to `steps`, with a look at the validation part every half epoch."""
  options = common.train_options(steps, half_epoch, patience=2)
  return {**options, "monitor": "auc"}


def quicktest(c: ConfigDict) -> None:
  """The simulator's items, users and actions."""
  common.quicktest(c)
  c.split = ConfigDict(common.global_time())
  c.value = ConfigDict(dict.fromkeys(QUICK_TASKS, 1.0))
  c.evals.shown_items.feedback.tasks = c.objective.tasks = QUICK_TASKS
  c.pipeline.layout.feedback.tasks = QUICK_TASKS
