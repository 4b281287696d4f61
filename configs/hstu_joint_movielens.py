# SPDX-License-Identifier: Apache-2.0
"""One HSTU that retrieves and ranks, on MovieLens-100K.

    python scripts/train.py --config=configs/hstu_joint_movielens.py \
        --workdir=runs/joint --config.data.path=ml-100k.zip
    python scripts/evaluate.py --workdir=runs/joint

The next item, and whether the user will like it (rating of 4 or more), by one
model and one loss: a softmax over all items plus a binary cross-entropy. Tokens
are items and whether they were liked, in turn (arXiv 2402.17152, section 2).
Expected of the last rating of each of 943 users, three seeds: HR@10 .167,
NDCG@10 .086, AUC .770, which seeds change by .017, .008 and .009;
`retrieval_only` .154 and .080, `ranking_only` .777. A minute on two CPU cores.

Variants: `retrieval_only` and `ranking_only` train the same backbone on the
same tokens for one of the two alone; `action_oriented` has one token per rating
(arXiv 2505.04180); `liked_only` takes liked items alone as next items, as the
paper has it: their public code, and we, take all.

A user is one example, of the last 64 ratings (those of one second are one
request, which gets more examples where it has more than four). Leave-one-out
(the last rating tests, the one before validates) measures both tasks on the
same events, 943 of each part, so an AUC comes from as many labels. A split by
time would have more of them, by users who are nearly all new.
"""

from collections.abc import Set

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common

_VARIANTS = (
  "quicktest",
  "retrieval_only",
  "ranking_only",
  "action_oriented",
  "liked_only",
)
# What variants change of the model.
_CHANGES = {
  "both": "both tasks",
  "retrieval_only": "retrieval only",
  "ranking_only": "ranking only",
  "action_oriented": "action-oriented tokens",
  "liked_only": "liked items",
}
_TASKS = ("liked",)
_MAX_EVENTS, _CANDIDATES = 64, 4
_WIDTH = 64
_NUM_POSITIONS = 2 * _MAX_EVENTS + _CANDIDATES
_FIND = {
  "name": "objectives.FullSoftmax",
  "temperature": 0.05,
  "label": "next_item_BL",
}
_RANK = {"name": "objectives.BinaryCrossEntropy", "tasks": _TASKS}


def _feedback() -> dict:
  return {"name": "dataset.Feedback", "tasks": _TASKS, "min_value": 4.0}


def _layout(variants: Set[str]) -> dict:
  kind = "ActionOriented" if "action_oriented" in variants else "Interleaved"
  return {
    "name": f"layouts.Joint{kind}",
    "feedback": _feedback(),
    "max_events": _MAX_EVENTS,
    "num_candidates": _CANDIDATES,
    "last_requests": 1,
    "history_loss": True,
    "wanted": _feedback() if "liked_only" in variants else placeholder(dict),
  }


def _system(variants: Set[str]) -> dict:
  name = "models.JointRanker"
  if "ranking_only" in variants:
    name = "models.ActionRanker"
  oriented = "action_oriented" in variants
  return {
    "name": name,
    "width": _WIDTH,
    "num_actions": 1,
    "unknown_action": oriented,
    "dropout": 0.2,
    "dtype": "float32",
    "heads": {"name": "layers.LinearHead", "num_tasks": 1},
    "backbone": {
      "name": "backbones.HSTU",
      "num_layers": 2,
      "num_heads": 2,
      "key_width": _WIDTH // 2,
      "value_width": _WIDTH // 2,
      "num_positions": _NUM_POSITIONS,
      "position_bias": True,
      "time_bias": True,
      "dropout": 0.2,
      "attention": {
        "name": "layers.SiluAttention",
        "normalizer": float(_NUM_POSITIONS),
      },
    },
  }


def _task(c: ConfigDict, variants: Set[str]) -> None:
  """The loss, what is measured, and which of it training watches."""
  c.requests = common.request_options()
  find = {"next_item": common.next_item()}
  rank = {
    "shown_items": {
      "name": "evaluation.ShownItems",
      "feedback": _feedback(),
    }
  }
  if "retrieval_only" in variants:
    c.objective, c.evals = _FIND, find
    c.train.monitor = "ndcg@10"
  elif "ranking_only" in variants:
    c.objective, c.evals = _RANK, rank
    c.train.monitor = "auc"
  else:
    c.objective = {
      "name": "objectives.WeightedSum",
      "objectives": {"next_item": _FIND, "action": _RANK},
      "weights": {"next_item": 1.0, "action": 1.0},
    }
    c.evals = {**find, **rank}
    c.train.monitor = "ndcg@10+auc"


def _quicktest(c: ConfigDict) -> None:
  """The simulator's carts instead of ratings, and twelve events."""
  common.quicktest(c)
  c.pipeline.layout.max_events = 12
  nodes = [c.pipeline.layout, *c.evals.values()]
  for node in nodes:
    for name in ("feedback", "wanted"):
      if node.get(name) is not None:
        node[name].tasks, node[name].min_value = ("cart",), None
  for node in (c.objective, *c.objective.get("objectives", {}).values()):
    if "tasks" in node:
      node.tasks = ("cart",)


def get_config(arg: str = "") -> ConfigDict:
  """Both tasks, interleaved tokens, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  if {"retrieval_only", "ranking_only"} <= variants:
    raise ValueError("retrieval_only and ranking_only exclude one another.")
  c = ConfigDict()
  c.name = "-".join(["hstu_joint_movielens", *sorted(variants - {"quicktest"})])
  alone = variants & {"retrieval_only", "ranking_only"}
  c.title = common.title("HSTU", variants | (alone or {"both"}), _CHANGES)
  c.seed = 0
  c.prepared = ""
  c.data = {"name": "sources.MovieLens", "variant": "100k", "path": ""}
  c.split = common.leave_one_out()
  c.filter = common.filter_options()
  c.pipeline = {
    "layout": _layout(variants),
    "batch_size": 12,
    "row_length": _NUM_POSITIONS,
    "readers": 1,
  }
  c.system = _system(variants)
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 3e-3,
    "b2": 0.98,
    "weight_decay": 0.0,
    "warmup_steps": 40,
    "schedule": {"name": "train.Cosine", "steps": 600},
  }
  c.train = common.train_options(steps=600, eval_every_steps=100, patience=0)
  _task(c, variants)
  c.mesh = common.mesh_options()
  common.share_dtype(c)
  if "quicktest" in variants:
    _quicktest(c)
  return c
