# SPDX-License-Identifier: Apache-2.0
"""LUM on KuaiRand-Pure: a user model that says what a user would take, where.

    python scripts/train.py --config=configs/lum_kuairand.py \
        --workdir=runs/lum --config.data.path=kuairand-pure
    python scripts/run.py --config=configs/dcn_kuairand.py:lum \
        --workdir=runs/dcn_lum --config.data.path=kuairand-pure

A user is the last 50 videos that were clicked or watched for long, each behind
the condition under which it came: the tab of the app and the quarter of the day
(arXiv 2502.08309). Of the lists from before the log nobody knows either. At
each condition the video is found among 256 drawn ones and up to 512 of the
batch. Trained on what was before 1 May 2022, it is asked for four tabs, the
other part left open, at each midnight until 8 May; rankers of later impressions
read the answers (the second command, which trains this model first).

Expected: no run is finished, so that no figure is known. By its FLOPs a step
takes about half a second of one CPU core, ten epochs some 20 minutes.

Variants: `causal` takes a Transformer with a softmax in place of HSTU;
`no_condition` one condition that is always the same, the control; `whole` the
whole training part, as a retriever that no ranker of it may read; `no_history`
leaves out the lists from before the log.

Differences from the paper, where it says nothing or more: width 64 in place of
up to 7 billion parameters; a video is its id, author, tag and length; InfoNCE
with cosines, temperature .05 and both kinds of negatives uncorrected; a tenth
of the conditions' parts are hidden in training, so that a query may leave one
open; a ranker reads answers, scores and the item, by a linear map each.
"""

from collections.abc import Set

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, kuairand
from genrec_jax.core.build import build

_VARIANTS = ("quicktest", "causal", "no_condition", "whole", "no_history")
# What variants change of the model.
_CHANGES = {"causal": "causal Transformer", "no_condition": "no conditions"}
_TAKEN = ("click", "long_view")
_WIDTH, _HEADS, _LAYERS = 64, 2, 4
_EVENTS = 50
_LENGTH = 2 * _EVENTS + 1


def _condition(of: str, size: int) -> dict:
  return {"name": "layouts.Condition", "of": of, "size": size}


def _layout(variants: Set[str]) -> dict:
  parts = (_condition("scene", 15), _condition("slot", 4))
  queries = kuairand.QUERIES
  if "no_condition" in variants:
    parts, queries = (_condition("slot", 1),), ("",)
  features = (
    kuairand.feature("item.author_id", "Vocabulary", size=8192, min_count=2),
    kuairand.feature("item.tag", "Vocabulary", size=128),
    kuairand.feature("item.video_duration", "Percentiles", buckets=100),
  )
  until = placeholder(str) if "whole" in variants else kuairand.ASKED_FROM
  return {
    "name": "layouts.ConditionItems",
    "taken": kuairand.feedback(_TAKEN),
    "conditions": {
      "name": "layouts.Conditions",
      "parts": parts,
      "queries": queries,
      "hidden": 0.1,
      "utc_offset_hours": 8.0,
    },
    "features": {"name": "features.FeatureSet", "features": features},
    "max_events": _EVENTS,
    "until": until,
  }


def _backbone(variants: Set[str]) -> dict:
  if "causal" in variants:
    return {
      "name": "backbones.CausalTransformer",
      "width": _WIDTH,
      "num_layers": _LAYERS,
      "num_heads": _HEADS,
      "head_width": _WIDTH // _HEADS,
      "ffn_width": 4 * _WIDTH,
      "max_distance": _LENGTH,
      "dropout": 0.1,
    }
  return {
    "name": "backbones.HSTU",
    "num_layers": _LAYERS,
    "num_heads": _HEADS,
    "key_width": _WIDTH // _HEADS,
    "value_width": _WIDTH // _HEADS,
    "num_positions": _LENGTH,
    "position_bias": True,
    "time_bias": False,
    "dropout": 0.1,
    "attention": {
      "name": "layers.SiluAttention",
      "normalizer": float(_LENGTH),
    },
  }


def _taken_items() -> dict:
  """What validation and test find, of what was clicked or watched for long."""
  return {
    "name": "evaluation.TakenItems",
    "watched": {
      "name": "layouts.Watched",
      "percentiles": {
        "name": "features.WatchPercentiles",
        "duration": "video_duration",
        "relative": True,
        "base": 2.0,
        "least_events": 4,
      },
      "taken": _TAKEN,
      "refused": (),
      "only_taken": True,
    },
    "ks": (10, 50),
    "filter_history": True,
  }


def match_tables(c: ConfigDict) -> None:
  """Makes the system's tables those of the layout."""
  layout = build(c.pipeline.layout)
  c.system.condition_rows = layout.conditions.rows
  c.system.item_rows = layout.features.rows


def _quicktest(c: ConfigDict, variants: Set[str]) -> None:
  """The simulator's items and actions; there are no scenes."""
  common.quicktest(c)
  c.split = ConfigDict(common.global_time())
  layout, taken = c.pipeline.layout, c.evals.taken
  layout.taken.tasks = ("view", *kuairand.QUICK_TASKS)
  layout.max_events = 12
  layout.features.features = (
    kuairand.feature("item.category", "Vocabulary", size=32),
    kuairand.feature("item.price", "Percentiles", buckets=20),
  )
  if "no_condition" not in variants:
    layout.conditions.parts = (_condition("slot", 4),)
    layout.conditions.queries = kuairand.QUICK_QUERIES
  if "whole" not in variants:
    layout.until = kuairand.QUICK_ASKED[0]
  taken.watched.percentiles.update(duration="price", relative=False)
  taken.watched.taken = kuairand.QUICK_TASKS
  taken.ks = (1, 10)
  c.train.update(monitor="recall@10", eval_users=20)


def get_config(arg: str = "") -> ConfigDict:
  """HSTU, tabs and quarters of the day, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  c = kuairand.kuairand("lum_kuairand", variants)
  c.title = common.title("LUM", variants, _CHANGES)
  del c.value
  c.data.scene = True
  c.pipeline = {
    "layout": _layout(variants),
    "batch_size": 64,
    "row_length": _LENGTH,
    "readers": 1,
  }
  c.system = {
    "name": "models.ConditionItem",
    "condition_rows": (),
    "item_rows": (),
    "width": _WIDTH,
    "num_positions": _LENGTH,
    "part_width": 16,
    "normalize": True,
    "dropout": 0.1,
    "dtype": "float32",
    "backbone": _backbone(variants),
  }
  negatives = (
    {"name": "objectives.UniformShared", "count": 256},
    {"name": "objectives.InBatchNegatives", "count": 512},
  )
  c.objective = {
    "name": "objectives.SampledSoftmax",
    "negatives": {"name": "objectives.Mixed", "parts": negatives},
    "temperature": 0.05,
    "correct_log_q": False,
    "correct_positive": False,
  }
  c.evals = ConfigDict({"taken": _taken_items()})
  c.train = common.train_options(steps=1900, eval_every_steps=190, patience=0)
  c.train.update(monitor="recall@50", eval_users=2_000)
  common.share_dtype(c)
  if "quicktest" in variants:
    _quicktest(c, variants)
  match_tables(c)
  return c
