# SPDX-License-Identifier: Apache-2.0
"""LinkedIn's Feed SR on KuaiRand-Pure: a pre-norm decoder, rotary places, DCN.

    python scripts/train.py --config=configs/linkedin_kuairand.py \
        --workdir=runs/feed_sr --config.data.path=kuairand-pure

An item and what came of it in turn, a loss at every labelled item, weighed by
recency; a causal Transformer whose residual sums have learned scalars and whose
queries and keys turn with their places; features of video, user and moment meet
the hidden state in a head, DCN-v2 beside an MLP (arXiv 2602.12354, second
version; the first had MMoE, which is `mmoe`). Data, split, tasks, features and
optimizer are those of configs/hstu_ranking_kuairand.py. Expected: nothing has
been trained yet but the quick form; two CPU cores and some minutes are meant,
as for HSTU, a head of explicit products costing more than one MLP.

Variants, of each line at most one:

    linear mlp mmoe dcn_stacked     another head
    absolute no_positions           learned places, or none, in place of rotary
    silu hstu                       SiLU attention, or HSTU's whole block
    hidden logged                   items do not see those shown beside them, or
                                    see them in the order of the log; else in an
                                    order drawn anew in training
    no_features no_counts           the head is told nothing late, or no counts

    plain_residual  sums without scalars
    no_recency      all labels count the same
    slots           an offset for each of 60 slots, scored as in slot 5
    propensities    slots, and labels over the chance k^-.5 that slot k is seen
    popularity      also counts of the last days, and the age of a video
    affinity, no_history    as in the HSTU config

Differences from the publication, which leaves layers, widths, learning rate and
first scalars open: 2 layers of width 64, scalars 1 and 1, 64 events instead of
1,000, cross layers of rank 64. No text of the member, no daily update. Of the
log's requests 99.2 % show one video, and it names no slot: the order within a
request and slots (here the place in it) change next to nothing on these data,
and the propensities are a guess.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, hstu_ranking_kuairand as hstu, kuairand
from genrec_jax.objectives.label_weights import power_propensities

_NUM_EVENTS, _NUM_SLOTS = 64, 60
_HEADS = {
  "linear": {"name": "layers.LinearHead"},
  "mlp": {"name": "layers.SharedMlp", "widths": (128, 64), "dropout": 0.1},
  "mmoe": {
    "name": "layers.MMoE",
    "num_experts": 4,
    "hidden_width": 64,
    "gate_dropout": 0.1,
    # Clicks and long views are passive, likes active.
    "groups": (0, 0, 1),
  },
}
_POSITIONS = ("absolute", "no_positions")
_ATTENTION = ("silu", "hstu")
_ORDER = ("hidden", "logged")
_LATE = ("no_features", "no_counts")
# Variants that mean what they mean to HSTU.
_SHARED = {"no_features", "affinity", "no_history"}
_VARIANTS = (
  *("quicktest", *_HEADS, "dcn_stacked", *_POSITIONS, *_ATTENTION, *_ORDER),
  *(*_LATE, "plain_residual", "no_recency", "slots", "propensities"),
  *("popularity", "affinity", "no_history"),
)
# What variants change of the model.
_CHANGES = {
  "linear": "linear head",
  "mlp": "MLP head",
  "mmoe": "MMoE",
  "dcn_stacked": "stacked DCN-v2",
  "absolute": "learned places",
  "no_positions": "no places",
  "silu": "SiLU attention",
  "hstu": "HSTU's block",
  "no_features": "no features",
  "no_counts": "no counts",
  "plain_residual": "plain sums",
  "no_recency": "no recency",
  "slots": "slots",
  "propensities": "propensities",
  "popularity": "popularity",
  "affinity": "affinity features",
}


def _backbone(variants: Set[str], length: int) -> dict:
  softmax = {"name": "layers.SoftmaxAttention", "scale": None}
  silu = {"name": "layers.SiluAttention", "normalizer": float(length)}
  rotary = {"name": "layers.RotaryPositions", "base": 10_000.0}
  return {
    "name": "backbones.PreNormDecoder",
    "num_layers": 2,
    "num_heads": 2,
    "key_width": 32,
    "value_width": 32,
    "ffn_width": 256,
    "attention": silu if "silu" in variants else softmax,
    "rotary": None if variants & {*_POSITIONS} else rotary,
    "residual_scalars": None if "plain_residual" in variants else (1.0, 1.0),
    "activation": "gelu",
    "init_std": 0.02,
    "dropout": 0.1,
    "scan": False,
    "remat": False,
  }


def _head(variants: Set[str]) -> dict:
  for name, head in _HEADS.items():
    if name in variants:
      return head
  return {
    "name": "layers.CrossHead",
    "form": "stacked" if "dcn_stacked" in variants else "parallel",
    "num_layers": 3,
    "rank": 64,
    "widths": (128, 64),
    "dropout": 0.1,
  }


def _objective(c: ConfigDict, variants: Set[str]) -> None:
  """Weights halve over a full length of tokens, and over 60 days."""
  if "no_recency" not in variants:
    c.objective.label_weights = (
      {"name": "objectives.ByPlace", "half_life": 2.0 * _NUM_EVENTS},
      {"name": "objectives.ByTime", "half_life_days": 60.0},
    )
  if "propensities" in variants:
    c.objective.propensities = {
      "name": "objectives.ByPropensity",
      "propensities": power_propensities(_NUM_SLOTS, 0.5),
      "most": None,
    }


def _is_count(feature: dict) -> bool:
  counts = ("item.count", "context.events", "context.past_")
  return feature["of"].startswith(counts)


def _features(c: ConfigDict, variants: Set[str]) -> None:
  """What is told late; every number by its percentile in the training part."""
  if "no_features" in variants:
    return
  told = c.pipeline.layout.features
  features = [dict(f) for f in told.features]
  if "no_counts" in variants:
    features = [f for f in features if not _is_count(f)]
  if "popularity" in variants:
    names = ("recent.id.1", "recent.id.7", "recent.author_id.7", "age.id")
    features += [
      kuairand.feature(of, "Percentiles", buckets=100) for of in names
    ]
  told.features = tuple(features)


def _quicktest(c: ConfigDict) -> None:
  hstu.quicktest(c)
  if "groups" in c.system.heads:
    c.system.heads.groups = (0, 1)


def get_config(arg: str = "") -> ConfigDict:
  """Rotary places, scalars, parallel DCN-v2, unless a variant says other."""
  variants = common.variants(arg, _VARIANTS)
  heads = (*_HEADS, "dcn_stacked")
  common.exclusive(variants, heads, _POSITIONS, _ATTENTION, _ORDER, _LATE)
  # HSTU's block has places and sums of its own.
  for own in (*_POSITIONS, "plain_residual"):
    common.exclusive(variants, ("hstu", own))
  for own in ("affinity", "popularity"):
    common.exclusive(variants, ("no_features", own))
  c = hstu.get_config("-".join(sorted(variants & _SHARED)))
  c.name = "-".join(["linkedin_kuairand", *sorted(variants - {"quicktest"})])
  c.title = common.title("Feed SR", variants, _CHANGES)
  slots = bool(variants & {"slots", "propensities"})
  c.pipeline.layout.update(
    name="layouts.ShownTogether",
    max_events=_NUM_EVENTS,
    siblings=next((w for w in _ORDER if w in variants), "shuffled"),
    num_slots=_NUM_SLOTS if slots else 0,
    asked_slot=5,
  )
  length = c.system.backbone.num_positions
  if "hstu" not in variants:
    c.system.backbone = ConfigDict(_backbone(variants, length))
    common.share_dtype(c)
  if "absolute" in variants:
    c.system.num_positions = length
  c.system.heads = ConfigDict(
    {**_head(variants), "num_tasks": len(kuairand.TASKS)}
  )
  if slots:
    c.system.update(name="models.SlotRanker", num_slots=_NUM_SLOTS)
  _objective(c, variants)
  _features(c, variants)
  hstu.match_features(c)
  if "quicktest" in variants:
    _quicktest(c)
  return c
