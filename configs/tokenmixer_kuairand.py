# SPDX-License-Identifier: Apache-2.0
"""TokenMixer-Large on KuaiRand-Pure: mixed, and mixed back (2602.06563).

    python scripts/train.py --config=configs/tokenmixer_kuairand.py \
        --workdir=runs/tokenmixer --config.data.path=kuairand-pure

Expected: not trained yet, here; beside it stand DCN-v2 and Wukong with the same
features (.7285 and .7222 of click). By its FLOPs, ten minutes on a CPU core.

Features and data are configs/dlrm_kuairand.py's, the history summed. Seven
groups of features and a token of all of them, of width 64, go through four
layers: each mixes 8 heads, has a gated feed-forward part of inner width 64 for
each mixed token, mixes back, and has another for each token: 786,432
parameters. Last matrices start at a hundredth. A residual spans the first two
layers, and an auxiliary head sits where it ends, whose loss weighs .1.

Variants: `no_global`, without the token of all features (mixed tokens are then
8 of 7 heads); `no_inter`, without the residual between layers and its head;
`plain_ffn`, with gelu and without gates; `shared_ffn`, one part for all tokens;
`large_start`, last matrices start as the others; `moe`, half of eight experts
active: one that a token always takes and three of seven by a softmax over the
chosen, times 2; `plain_moe`, four of eight without these three: no expert for
all, no factor, no small start. `no_history` and `affinity` are those of the
DLRM config.

Differences from the paper: AdamW for all; sizes, the weight of the auxiliary
loss and the form of the residual between layers are ours, and so is a norm
before the mean over tokens.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common
from configs.dlrm_kuairand import kuairand_features
from configs.rankmixer_kuairand import (
  feature_groups,
  match_tokens,
  slot_experts,
  slot_feed,
  weighted_sum,
)

_FEEDS = {
  "plain_ffn": "no gates",
  "shared_ffn": "shared feed-forward part",
  "large_start": "no small start",
  "moe": "sparse experts",
  "plain_moe": "plain sparse experts",
}
_CHANGES = {
  "affinity": "affinity features",
  "no_global": "no global token",
  "no_inter": "no residual between layers",
  **_FEEDS,
}
_VARIANTS = ("quicktest", "no_history", *_CHANGES)
_WIDTH, _HEADS, _LAYERS, _HIDDEN = 64, 8, 4, 64
_INTER, _AUXILIARY = 2, 0.1
_EXPERTS, _ACTIVE = 8, 4
_SMALL = 0.01


def get_config(arg: str = "") -> ConfigDict:
  """Eight tokens, four layers."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, (*_FEEDS,))
  inter = "no_inter" not in variants
  tokens = {
    "name": "layers.GroupTokens",
    "groups": feature_groups(*_groups(variants)),
    "width": _WIDTH,
    "hidden_width": 2 * _WIDTH,
    "global_token": "no_global" not in variants,
    "dtype": "float32",
  }
  stack = mixing(tokens, _HEADS, _LAYERS, _feed(variants))
  stack["inter_layer"] = _INTER if inter else 0
  pooling = {"name": "layers.SumPooling"}
  c = kuairand_features("tokenmixer_kuairand", variants, pooling, stack)
  match_tokens(c)
  c.system.auxiliary_heads = inter
  parts = {"tasks": (c.objective.to_dict(), 1.0)}
  if inter:
    head = {"name": "objectives.AuxLogits", "objective": parts["tasks"][0]}
    parts["inner"] = ({**head, "of": "inner_logits"}, _AUXILIARY)
  if variants & {"moe", "plain_moe"}:
    balance = {"name": "objectives.RoutingLoss", "balance_weight": 0.01}
    parts["routing"] = (balance, 1.0)
  if len(parts) > 1:
    c.objective = weighted_sum(parts)
  c.title = common.title("TokenMixer-Large", variants, _CHANGES)
  return c


def mixing(tokens: dict, heads: int, layers: int, feed: dict) -> dict:
  """Layers that mix and mix back."""
  return {
    "name": "layers.MixingStack",
    "tokens": tokens,
    "block": {
      "name": "layers.MixRevertBlock",
      "ffn": feed,
      "heads": heads,
      "residual": True,
      "dtype": "float32",
    },
    "num_layers": layers,
    "inter_layer": 0,
    "final_norm": True,
    "dtype": "float32",
  }


def gated_feed(hidden_width: int, **options) -> dict:
  """SwiGLU for each token, whose last matrix starts small."""
  given = {"gated": True, "bias": False, "activation": "silu"}
  given["out_scale"] = _SMALL
  return slot_feed(hidden_width, **{**given, **options})


def _feed(variants: Set[str]) -> dict:
  if "plain_ffn" in variants:
    return gated_feed(_HIDDEN, gated=False, activation="gelu")
  if "moe" in variants:
    router = _router(_ACTIVE - 1, scale=_EXPERTS / _ACTIVE)
    width = _HIDDEN // _EXPERTS
    options = {"shared_width": width, "out_scale": _SMALL}
    return slot_experts(router, _EXPERTS - 1, width, **options)
  if "plain_moe" in variants:
    return slot_experts(_router(_ACTIVE), _EXPERTS, _HIDDEN // _EXPERTS)
  scale = 1.0 if "large_start" in variants else _SMALL
  shared = "shared_ffn" in variants
  return gated_feed(_HIDDEN, out_scale=scale, shared=shared)


def _router(experts_per_token: int, scale: float = 1.0) -> dict:
  """The best of a softmax over the chosen."""
  return {
    "name": "layers.TopKRouter",
    "experts_per_token": experts_per_token,
    "normalized": True,
    "scale": scale,
  }


def _groups(variants: Set[str]) -> list[tuple[str, tuple[str, ...]]]:
  """What belongs together, among the features of the log or the simulator."""
  history = ("history", ("history.*",))
  if "quicktest" in variants:
    return [
      ("user", ("user.*",)),
      ("item", ("item.*",)),
      ("moment", ("context.hour",)),
      ("past", ("context.past_*",)),
      history,
    ]
  user = ("user_active_degree", "*_range", "onehot_feat*")
  item = ("music_id", "tag", "*_type")
  past = ["context.events", "context.past_*"]
  past += ["affinity.*"] if "affinity" in variants else []
  return [
    ("user", ("user.id",)),
    ("profile", tuple(f"user.{name}" for name in user)),
    ("video", ("item.id", "item.author_id", "item.count")),
    ("content", (*(f"item.{name}" for name in item), "item.video_duration")),
    ("moment", ("context.hour", "context.gap")),
    ("past", tuple(past)),
    history,
  ]
