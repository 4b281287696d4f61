# SPDX-License-Identifier: Apache-2.0
"""What configs of models that generate codes of items share.

Backbones, feed-forward parts and models as nodes of a config, and what goes on
from a trained model: on samples of its own, or on logged feedback with the
trained one beside it.
"""

from typing import Any

from ml_collections import ConfigDict

# One head is as wide everywhere.
_HEAD_WIDTH = 32
# Of what goes on from a trained model.
_RATE_BEHIND = 1e-4


def pipeline(layout: dict, batch_size: int, row_length: int) -> dict:
  """config.pipeline with one reader."""
  return {
    "layout": layout,
    "batch_size": batch_size,
    "row_length": row_length,
    "readers": 1,
  }


def feed_forward(width: int, hidden_width: int, dropout: float) -> dict:
  """A dense part, with gates."""
  return {
    "name": "layers.FeedForward",
    "width": width,
    "hidden_width": hidden_width,
    "dropout": dropout,
  }


def experts(
  num_experts: int,
  taken: int,
  hidden_width: int,
  *,
  router: dict | None = None,
  **options: Any,
) -> dict:
  """A mixture whose load is evened by a bias, without a loss.

  Args:
    num_experts: of the mixture.
    taken: experts of a token.
    hidden_width: of an expert.
    router: further options of the router.
    **options: of layers.ExpertFeedForward.
  """
  return {
    "name": "layers.ExpertFeedForward",
    "router": {
      "name": "layers.TopKRouter",
      "experts_per_token": taken,
      "balance_rate": 0.001,
      **(router or {}),
    },
    "num_experts": num_experts,
    "hidden_width": hidden_width,
    **options,
  }


def first_layers_dense(c: ConfigDict, mixture: dict, num_first: int) -> None:
  """Experts in all layers of a backbone but the first, which keep its ffn."""
  backbone = c.system.backbone
  backbone.first_ffn = ConfigDict(backbone.ffn.to_dict())
  backbone.num_first = num_first
  backbone.ffn = ConfigDict(mixture)


def share_ffn_dtype(c: ConfigDict, *names: str) -> None:
  """Parts of config.system.backbone compute in config.system.dtype.

  Args:
    c: the config.
    names: of the parts; those that it has not are left out.
  """
  for name in names or ("ffn", "first_ffn"):
    if name in c.system.backbone:
      c.system.backbone[name].dtype = c.system.get_ref("dtype")


def causal(width: int, num_layers: int, dropout: float) -> dict:
  """A causal Transformer of four heads."""
  return {
    "name": "backbones.CausalTransformer",
    "width": width,
    "num_layers": num_layers,
    "num_heads": 4,
    "head_width": _HEAD_WIDTH,
    "ffn_width": 4 * width,
    "dropout": dropout,
  }


def encoder_decoder(
  width: int, num_layers: int, dropout: float, **options: Any
) -> dict:
  """As many layers to read as to write, four heads.

  Args:
    width: D.
    num_layers: of encoder and decoder each.
    dropout: of both.
    **options: of backbones.EncoderDecoder.
  """
  return {
    "name": "backbones.EncoderDecoder",
    "width": width,
    "num_encoder_layers": num_layers,
    "num_decoder_layers": num_layers,
    "num_heads": 4,
    "head_width": _HEAD_WIDTH,
    "ffn_width": 4 * width,
    "dropout": dropout,
    **options,
  }


def lazy(width: int, num_codes: int, *, max_items: int, dropout: float) -> dict:
  """A decoder of 4 layers whose context no layer reads.

  One set of keys, which are the values, of one head, and a bias by recency.
  """
  return {
    "name": "backbones.LazyDecoder",
    "width": width,
    "num_layers": 4,
    "num_heads": 4,
    "head_width": _HEAD_WIDTH,
    "ffn": feed_forward(width, 4 * width, dropout),
    "target_tokens": num_codes,
    "num_key_heads": 1,
    "num_sets": 1,
    "shared_values": True,
    "event_width": 2 * width,
    "recency_buckets": 16,
    "max_distance": max_items,
    "dropout": dropout,
  }


def seq2seq(
  sizes: tuple[int, ...],
  width: int,
  max_length: int,
  backbone: dict,
  *,
  name: str = "models.TokenSeq2Seq",
  num_user_tokens: int = 0,
  **options: Any,
) -> dict:
  """A model that reads codes and writes those of targets."""
  return {
    "name": name,
    "level_sizes": sizes,
    "width": width,
    "max_length": max_length,
    "num_user_tokens": num_user_tokens,
    "tied": False,
    "embedding_init_std": 0.05,
    "dtype": "float32",
    "backbone": backbone,
    **options,
  }


def prefixes(
  sizes: tuple[int, ...], max_items: int, num_user_tokens: int = 0
) -> dict:
  """A layout of histories that are read anew for each target."""
  return {
    "name": "layouts.TokenPrefixes",
    "max_items": max_items,
    "level_sizes": sizes,
    "num_user_tokens": num_user_tokens,
    "max_segments": 8,
  }


def targets(
  sizes: tuple[int, ...], max_items: int, max_events: int, **options: Any
) -> dict:
  """A layout of histories that are read once for all targets."""
  return {
    "name": "layouts.TokenTargets",
    "max_items": max_items,
    "max_events": max_events,
    "level_sizes": sizes,
    "num_user_tokens": 0,
    **options,
  }


def decoder_only(
  c: ConfigDict,
  sizes: tuple[int, ...],
  *,
  width: int,
  max_items: int,
  dropout: float,
) -> None:
  """4 causal layers that read every user once."""
  layout = {
    "name": "layouts.TokenHistory",
    "max_length": max_items,
    "num_levels": len(sizes),
  }
  c.pipeline = ConfigDict(pipeline(layout, 16, max_items))
  c.system = ConfigDict(
    {
      "name": "models.TokenDecoder",
      "level_sizes": sizes,
      "width": width,
      "num_positions": max_items,
      "tied": False,
      "embedding_init_std": 0.05,
      "position_init_std": 0.05,
      "dropout": dropout,
      "dtype": "float32",
      "backbone": causal(width, 4, dropout),
    }
  )


def code_loss() -> dict:
  """The cross-entropy of the codes of targets."""
  return {
    "name": "objectives.CodeCrossEntropy",
    "temperature": 1.0,
    "label_smoothing": 0.0,
  }


def weighted(parts: dict[str, dict], **weights: float) -> dict:
  """A sum of losses, each of weight 1 where nothing else is said."""
  return {
    "name": "objectives.WeightedSum",
    "objectives": parts,
    "weights": {**dict.fromkeys(parts, 1.0), **weights},
  }


def goes_on(c: ConfigDict, before: dict[str, str], **train: Any) -> None:
  """Starts from the last run of `before`, at a learning rate of 1e-4.

  It is the same whatever rate the run before had: 1e-3 or 2e-3 in the configs
  that go on.

  Args:
    c: the config.
    before: name -> file of what is trained first; {} = it has to be named.
    **train: options of config.train.
  """
  if before:
    c.before = before
  c.train.pretrained = {"": {"path": "", "prefix": ""}}
  c.train.update(**train)
  c.optimizer.learning_rate = _RATE_BEHIND


def with_reference(c: ConfigDict) -> None:
  """The model that is trained further, and beside it what it starts from."""
  system = c.system
  system.num_items = 0
  c.system = ConfigDict({"name": "models.WithReference"})
  c.system.policy = system
  c.optimizer = ConfigDict(
    {
      "name": "train.Frozen",
      "optimizer": c.optimizer.to_dict(),
      "paths": ("reference/.*",),
    }
  )
  if c.train.pretrained:
    source = {"path": "", "prefix": ""}
    c.train.pretrained = {"policy": source, "reference": source}


def online_samples(num_samples: int, requests: int) -> dict:
  """config.rollout: samples by the parameters of now, what came next is 1."""
  return {
    "name": "rollout.Online",
    "drawer": {
      "name": "rollout.SampledItems",
      "num_samples": num_samples,
      "temperature": 1.0,
      "top_p": 1.0,
    },
    "reward": {"name": "rewards.TrueNext"},
    "requests": requests,
    "renew_steps": 1,
    "reference_steps": 0,
    "over_children": False,
    "with_target": False,
  }


def sample_quality() -> dict:
  """What samples are like: what guards watch."""
  return {"name": "rollout.SampleQuality", "users": 500, "head": 0.01}


def sample_guards() -> dict:
  """config.guards: what ends a training on samples (train/guards.py)."""
  return {
    "reward": {"name": "train.AtLeast", "metric": "reward_auc", "least": 0.6},
    "nll": {
      "name": "train.RiseAtMost",
      "metric": "held_out_nll",
      "share": 0.02,
    },
    "legal": {"name": "train.FallAtMost", "metric": "legal_share", "by": 0.05},
    "head": {"name": "train.RiseAtMost", "metric": "head_share", "by": 0.05},
  }
