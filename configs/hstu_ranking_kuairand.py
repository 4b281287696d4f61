# SPDX-License-Identifier: Apache-2.0
"""HSTU as a ranker on KuaiRand-Pure: item, action, item, action, ...

    python scripts/train.py --config=configs/hstu_ranking_kuairand.py \
        --workdir=runs/hstu_ranking --config.data.path=kuairand-pure

A user is one example (arXiv 2402.17152, section 2.3): each of the last 64
labelled impressions of the training part has a loss where it stands, and sees
those of earlier requests with what came of them (few users have more). Split in
time at UTC+8: 6 to 8 May tests, 5 May validates. Expected test AUC of click,
long_view and like, three seeds: .7248, .7280, .8717. Two to three minutes on
two CPU cores.

Tokens also tell the author and tag of their video. Features of video, user and
moment (configs/dlrm_kuairand.py's, which every ranker here has) meet the hidden
state in the head, late.

Variants: `no_features` leaves them out, and `affinity` and `windows` add to
them (as in the DLRM config); with `content` tokens tell a vector of their
video's texts, too; `candidates_only` makes an example of every request, with a
loss on its items alone, and `full_mask` lets histories see all of themselves
besides (which is better is disputed, see arXiv 2505.04180); `alibi` takes fixed
slopes for the learned biases and `alibi_too` has them beside these; `linear`,
`mmoe` and `task_mlp` take other heads; `no_history` leaves out the lists from
before the log; `context` puts attributes of users in front.

Differences from the paper: atomic ids of 7,600 videos instead of billions, no
stochastic length, and times of past events that nobody knows in a bucket of
their own.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, kuairand
from genrec_jax.core.build import build

_WIDTH = 64
_NUM_POSITIONS = 160
_HEADS = {
  "": {
    "name": "layers.SharedMlp",
    "widths": (128, 64),
    "dropout": 0.1,
  },
  "linear": {"name": "layers.LinearHead"},
  "task_mlp": {"name": "layers.TaskMlp", "hidden_width": 64},
  "mmoe": {
    "name": "layers.MMoE",
    "num_experts": 4,
    "hidden_width": 64,
    "gate_dropout": 0.1,
  },
}

_VARIANTS = (
  "quicktest",
  "no_features",
  "affinity",
  "windows",
  "content",
  "candidates_only",
  "full_mask",
  "alibi",
  "alibi_too",
  "linear",
  "task_mlp",
  "mmoe",
  "no_history",
  "context",
)


def _features(features: tuple[dict, ...], history: tuple[str, ...]) -> dict:
  return {
    "name": "features.FeatureSet",
    "features": features,
    "history": history,
    "utc_offset_hours": 8.0,
  }


def match_features(c: ConfigDict) -> None:
  """Makes the system's tables those of the layout's features."""
  node = c.pipeline.layout.get("features")
  if node is not None:
    features = build(node)
    c.system.feature_rows = features.rows
    c.system.history_columns = features.history_columns


# What variants change of the model.
_CHANGES = {
  "no_features": "no features",
  "affinity": "affinity features",
  "windows": "window statistics",
  "content": "content vectors",
  "candidates_only": "on requests",
  "full_mask": "full mask",
  "alibi": "ALiBi",
  "alibi_too": "ALiBi and biases",
  "linear": "linear head",
  "task_mlp": "MLP per task",
  "mmoe": "MMoE",
  "context": "context tokens",
}


def _layout(variants: Set[str]) -> dict:
  # A history that sees all of itself sees the labels that it would be asked.
  alone = bool(variants & {"candidates_only", "full_mask"})
  return {
    "name": "layouts.Interleaved",
    "feedback": kuairand.feedback(kuairand.TASKS),
    "shown": kuairand.feedback(kuairand.SHOWN),
    "max_events": 64,
    "num_candidates": 4,
    "last_requests": 0 if alone else 1,
    "history_loss": not alone,
    "causal": "full_mask" not in variants,
    "context": ("user_active_degree", "register_days_range")
    if "context" in variants
    else (),
    "context_ids": 100,
    "features": None
    if "no_features" in variants
    else _features(
      kuairand.feature_list("affinity" in variants, "windows" in variants),
      kuairand.HISTORY,
    ),
  }


def _system(variants: Set[str]) -> dict:
  heads = _HEADS[next((w for w in _HEADS if w and w in variants), "")]
  return {
    "name": "models.ActionRanker",
    "width": _WIDTH,
    "num_actions": len(kuairand.SHOWN),
    "context_ids": 100 if "context" in variants else 0,
    "feature_rows": (),
    "history_columns": (),
    "feature_width": 16,
    "dropout": 0.1,
    "dtype": "float32",
    "heads": {**heads, "num_tasks": len(kuairand.TASKS)},
    "backbone": {
      "name": "backbones.HSTU",
      "num_layers": 2,
      "num_heads": 2,
      "key_width": _WIDTH // 2,
      "value_width": _WIDTH // 2,
      "num_positions": _NUM_POSITIONS,
      "position_bias": "alibi" not in variants,
      "time_bias": "alibi" not in variants,
      "alibi": bool(variants & {"alibi", "alibi_too"}),
      "dropout": 0.1,
      "attention": {
        "name": "layers.SiluAttention",
        "normalizer": float(_NUM_POSITIONS),
      },
    },
  }


def quicktest(c: ConfigDict, windows: bool = False) -> None:
  """The simulator's actions instead of the videos', and twelve events."""
  kuairand.quicktest(c)
  tasks, layout = kuairand.QUICK_TASKS, c.pipeline.layout
  layout.max_events = 12
  layout.context = ()
  if layout.features is not None:
    layout.features.features = kuairand.quick_feature_list(windows)
    layout.features.history = kuairand.QUICK_HISTORY
  layout.shown.tasks = tasks
  c.system.num_actions = c.system.heads.num_tasks = len(tasks)
  match_features(c)


def get_config(arg: str = "") -> ConfigDict:
  """Interleaved tokens, learned biases, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  c = kuairand.kuairand("hstu_ranking_kuairand", variants)
  c.title = common.title("HSTU", variants, _CHANGES)
  c.pipeline = {
    "layout": _layout(variants),
    "batch_size": 64,
    # Of the longest example, in which every event and candidate has a token.
    "row_length": 132 + 2 * ("context" in variants),
    "readers": 1,
  }
  c.system = _system(variants)
  c.train = kuairand.train_options(steps=1400, half_epoch=115)
  common.share_dtype(c)
  match_features(c)
  if "quicktest" in variants:
    quicktest(c, "windows" in variants)
  if "content" in variants:
    width = kuairand.add_content(c, variants)
    columns = {"name": "layouts.VectorColumns", "content_width": width}
    c.pipeline.layout.vectors = columns
    c.system.content = True
  return c
