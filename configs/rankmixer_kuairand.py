# SPDX-License-Identifier: Apache-2.0
"""RankMixer on KuaiRand-Pure: tokens of features that are mixed (2507.15551).

    python scripts/train.py --config=configs/rankmixer_kuairand.py \
        --workdir=runs/rankmixer --config.data.path=kuairand-pure

Expected: not trained yet, here; beside it stand DCN-v2 and Wukong with the same
features (.7285 and .7222 of click). By its FLOPs, some minutes on a CPU core.

Features and data are configs/dlrm_kuairand.py's, the history summed: 28 vectors
of width 16, ordered by user, item, moment and history and cut into 8 slices of
56, which are projected to tokens of width 64. Two layers mix heads of tokens,
without parameters, and have a feed-forward part of inner width 128 for each
token: 262,144 parameters.

Variants, of mixing: `no_mixing`, tokens never meet; `attention`, self-attention
of 8 heads in its place. Of the feed-forward part: `shared_ffn`, one for all
tokens; `relu`, 8 experts of inner width 64 a token, of which ReLU gates open a
quarter in the end, at a price that adapts; `relu_half`, half of them;
`relu_free`, without a price; `top_k`, always two, by a softmax; `dtsi`, like
`relu` with a router for training beside the one that serves, and the mean of
both passes' losses; `distil`, where the serving pass learns from the dense one.
`no_history` and `affinity` are those of the DLRM config.

Differences from the paper: AdamW for all; experts have no biases; the price is
ReMoE's (2412.14711), as the paper gives no rule, and a token's best expert
never closes; what the serving router learns from is not published.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common
from configs.dlrm_kuairand import kuairand_features
from genrec_jax.core.build import build

_MIXERS = ("no_mixing", "attention")
_FEEDS = {
  "shared_ffn": "shared feed-forward part",
  "relu": "ReLU-routed experts",
  "relu_half": "ReLU-routed experts, half active",
  "relu_free": "ReLU-routed experts, unpriced",
  "top_k": "top-k experts",
  "dtsi": "two routers",
  "distil": "two routers, distilled",
}
_VARIANTS = ("quicktest", "no_history", "affinity", *_MIXERS, *_FEEDS)
_TOKENS, _WIDTH, _LAYERS, _HIDDEN = 8, 64, 2, 128
_EXPERTS, _EXPERT_WIDTH = 8, 64


def get_config(arg: str = "") -> ConfigDict:
  """Eight tokens, two layers."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, _MIXERS, (*_FEEDS,))
  interactions = mixing(variants, _TOKENS, _WIDTH, _LAYERS, _feed(variants))
  pooling = {"name": "layers.SumPooling"}
  c = kuairand_features("rankmixer_kuairand", variants, pooling, interactions)
  match_tokens(c)
  if variants & {"relu", "relu_half", "top_k", "dtsi", "distil"}:
    c.objective = _routed(c.objective.to_dict(), variants)
  changes = {
    "affinity": "affinity features",
    "no_mixing": "no mixing",
    "attention": "self-attention",
    **_FEEDS,
  }
  c.title = common.title("RankMixer", variants, changes)
  return c


def mixing(
  variants: Set[str], tokens: int, width: int, layers: int, feed: dict
) -> dict:
  """Layers that norm after the joins."""
  # The simulator's items, users and actions have none.
  affinity = "affinity" in variants and "quicktest" not in variants
  mixer = {"name": "layers.HeadMixing"}
  if "attention" in variants:
    mixer = {"name": "layers.SlotAttention", "num_heads": 8, "dtype": "float32"}
  return {
    "name": "layers.MixingStack",
    "tokens": {
      "name": "layers.SlicedTokens",
      "groups": feature_groups(
        ("user", ("user.*",)),
        ("item", ("item.*",)),
        *([("affinity", ("affinity.*",))] if affinity else []),
        ("moment", ("context.*",)),
        ("history", ("history.*",)),
      ),
      "num_tokens": tokens,
      "width": width,
      "dtype": "float32",
    },
    "block": {
      "name": "layers.MixBlock",
      "ffn": feed,
      "mixer": None if "no_mixing" in variants else mixer,
      "residual": True,
      "dtype": "float32",
    },
    "num_layers": layers,
    "dtype": "float32",
  }


def feature_groups(*groups: tuple[str, tuple[str, ...]]) -> dict:
  """Groups of features; match_tokens says of which features."""
  return {"name": "layers.FeatureGroups", "features": (), "groups": groups}


def match_tokens(c: ConfigDict) -> None:
  """Makes the tokens those of the layout's features, in one precision."""
  stack = c.system.interactions
  stack.tokens.groups.features = build(c.pipeline.layout).vector_names
  block = stack.block
  parts = [stack.tokens, block]
  parts += [block[n] for n in ("ffn", "mixed_ffn", "mixer") if block.get(n)]
  for part in parts:
    if "dtype" in part:
      part.dtype = c.system.get_ref("dtype")


def slot_feed(hidden_width: int, **options) -> dict:
  """A feed-forward part for each token."""
  return {
    "name": "layers.SlotFeedForward",
    "hidden_width": hidden_width,
    **options,
    "dtype": "float32",
  }


def slot_experts(router: dict, num_experts: int, width: int, **options) -> dict:
  """Experts of its own for each token."""
  return {
    "name": "layers.SlotExperts",
    "router": router,
    "num_experts": num_experts,
    "hidden_width": width,
    **options,
    "dtype": "float32",
  }


def _feed(variants: Set[str]) -> dict:
  routed = variants & {*_FEEDS} - {"shared_ffn"}
  if not routed:
    return slot_feed(_HIDDEN, shared="shared_ffn" in variants)
  router = {
    "name": "layers.ReluRouter",
    "sparsity": 0.5 if "relu_half" in variants else 0.75,
    "least": 0.01,
  }
  if "top_k" in variants:
    router = {
      "name": "layers.TopKRouter",
      "experts_per_token": _EXPERTS // 4,
      "normalized": True,
    }
  options = {"gated": False, "activation": "gelu"}
  feed = slot_experts(router, _EXPERTS, _EXPERT_WIDTH, **options)
  if variants & {"dtsi", "distil"}:
    feed.update(name="layers.TwoRouterSlotExperts", dense_gate="relu")
  return feed


def _routed(loss: dict, variants: Set[str]) -> dict:
  """The loss of tasks, and what routing costs."""
  dense = {"name": "objectives.AuxLogits", "objective": loss}
  dense["of"] = "dense_logits"
  parts = {"tasks": (loss, 1.0)}
  if "dtsi" in variants:
    parts = {"tasks": (loss, 0.5), "dense": (dense, 0.5)}
  elif "distil" in variants:
    distil = {"name": "objectives.Distillation", "of": "dense_logits"}
    parts = {"dense": (dense, 1.0), "serving": (distil, 1.0)}
  parts["routing"] = ({"name": "objectives.RoutingLoss"}, 1.0)
  return weighted_sum(parts)


def weighted_sum(parts: dict[str, tuple[dict, float]]) -> dict:
  """Losses by name, with their weights."""
  return {
    "name": "objectives.WeightedSum",
    "objectives": {name: loss for name, (loss, _) in parts.items()},
    "weights": {name: weight for name, (_, weight) in parts.items()},
  }
