# SPDX-License-Identifier: Apache-2.0
"""LONGER on a task that only a long memory solves (data/simulator/long_memory).

    python scripts/train.py --config=configs/longer_synthetic.py \
        --workdir=runs/longer_synthetic

2,000 users have 512 events, and are then asked about eight items at once, each
of which they met once: the label is what they did with it then, and where in
the history it lies is drawn evenly. Nothing else tells the label. Expected: not
trained yet. A model that reads the last 50 events and no others cannot have an
AUC above .593 (the simulator's docstring has the formula), one that reads all
of them may have 1; the time on a CPU core is not measured.

Groups of four, width 16 an event, 16 of 128 groups stay rows; the eight items
of a request are behind one history. Variants: `unmerged` and `eight` have
groups of one event (of the same width of rows) and of eight; `many` keeps 64
groups; `uniform` and `learned` are those of configs/longer_kuairand.py;
`recency` draws depths by their weight 1 / (1 + depth), so that recent events
are asked for most; `din` is DIN on all events, `din50` on the last 50.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, kuairand
from configs.dlrm_kuairand import match_features
from configs.longer_kuairand import change_history, merged_history, share_dtype

_DIN = ("din", "din50")
_FORMS = ("unmerged", "eight", "many", "uniform", "learned")
_VARIANTS = ("quicktest", *_FORMS, "recency", *_DIN)
_CHANGES = {
  "unmerged": "unmerged",
  "eight": "groups of eight",
  "many": "64 groups stay",
  "uniform": "groups spread evenly",
  "learned": "learned queries",
  "din50": "last 50 events",
}
_TASKS = ("like",)
_LENGTH, _ASKED, _ITEMS = 512, 8, 200


def _rows(variants: Set[str]) -> ConfigDict:
  """All but the system."""
  c = ConfigDict()
  c.name = "-".join(["longer_synthetic", *sorted(variants - {"quicktest"})])
  c.seed = 0
  c.prepared = ""
  c.data = {
    "name": "simulator.LongMemory",
    "num_users": 2_000,
    "num_items": _ITEMS,
    "length": _LENGTH,
    "asked": _ASKED,
    "recency": 1.0 if "recency" in variants else 0.0,
    "seed": 0,
  }
  c.split = common.global_time()
  c.filter = common.filter_options()
  is_din = bool(variants & {*_DIN})
  c.pipeline = {
    "layout": {
      "name": "layouts.PointwiseRows",
      "features": (kuairand.feature("item.id", "Vocabulary", size=_ITEMS),),
      "history_features": ("item.id",),
      "feedback": kuairand.feedback(_TASKS),
      "max_length": _ASKED,
      "history_length": 50 if "din50" in variants else _LENGTH,
      "one_request": not is_din,
      "num_candidates": _ASKED,
    },
    "batch_size": 16,
    "row_length": _ASKED,
    "readers": 1,
  }
  c.objective = {"name": "objectives.BinaryCrossEntropy", "tasks": _TASKS}
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "warmup_steps": 100,
  }
  c.train = common.train_options(steps=4_000, eval_every_steps=250, patience=4)
  c.train.monitor = "auc"
  c.requests = common.request_options(batch_size=32)
  c.evals = {
    "shown_items": {
      "name": "evaluation.ShownItems",
      "feedback": kuairand.feedback(_TASKS),
    }
  }
  c.value = dict.fromkeys(_TASKS, 1.0)
  c.mesh = common.mesh_options()
  return c


def _system(variants: Set[str]) -> dict:
  shared = {
    "width": 16,
    "interactions": {"name": "layers.Concat"},
    "tower_widths": (64,),
    "dropout": 0.0,
    "embedding_init_std": 0.1,
    "dtype": "float32",
  }
  if variants & {*_DIN}:
    pooling = {
      "name": "layers.TargetAttention",
      "widths": (80, 40),
      "pair": {"name": "layers.DifferenceProduct"},
      "softmax": False,
      "dtype": "float32",
    }
    return {"name": "models.FeatureRanker", "pooling": pooling, **shared}
  pooling = merged_history(
    size=8 if "eight" in variants else 4,
    width=16,
    num_positions=_LENGTH,
    num_recent=64 if "many" in variants else 16,
    num_heads=2,
  )
  return {
    "name": "models.LongHistoryRanker",
    "pooling": pooling,
    "request_columns": (),
    **shared,
  }


def get_config(arg: str = "") -> ConfigDict:
  """Groups of four, 16 of which stay rows."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(
    variants, _DIN, ("uniform", "learned"), ("unmerged", "eight")
  )
  for name in _FORMS:
    for din in _DIN:
      common.exclusive(variants, (name, din))
  c = _rows(variants)
  c.system = _system(variants)
  name = "DIN" if variants & {*_DIN} else "LONGER"
  c.title = common.title(name, variants, _CHANGES)
  if name == "LONGER":
    share_dtype(c)
    change_history(c, variants)
  if "quicktest" in variants:
    _quicktest(c)
  match_features(c)
  return c


def _quicktest(c: ConfigDict) -> None:
  """Short histories of few users."""
  data = c.data
  common.quicktest(c)
  c.data = data
  c.data.update(num_users=60, num_items=40, length=24, asked=4)
  c.pipeline.row_length = c.pipeline.layout.max_length = 4
  c.pipeline.layout.history_length = 24
