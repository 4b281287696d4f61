# SPDX-License-Identifier: Apache-2.0
"""What configs share: reading their argument, and the quick form of each.

A config file has get_config(arg): `--config=FILE.py:VARIANT-VARIANT` passes the
variants. `quicktest` is a variant of every config: the same system on a
simulated data set of 200 users, three steps, seconds on a CPU.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from genrec_jax.core.suggest import choices_hint


def variants(arg: str | None, choices: Sequence[str]) -> set[str]:
  """The variants that a config's argument names.

  Raises:
    ValueError: a variant that is not among the choices (names them).
  """
  found = set((arg or "").split("-")) - {""}
  for variant in found:
    if variant not in choices:
      raise ValueError(
        f"unknown variant {variant!r} of this config."
        f"{choices_hint(variant, choices)}"
      )
  return found


def exclusive(variants: Set[str], *groups: Sequence[str]) -> None:
  """Raises a ValueError for two variants of which one would be ignored.

  Args:
    variants: those asked for.
    groups: of each at most one.
  """
  for group in groups:
    found = [name for name in group if name in variants]
    if len(found) > 1:
      raise ValueError(
        f"the variants {' and '.join(found)} of this config exclude each other:"
        " name one."
      )


def title(name: str, variants: Set[str], changes: Mapping[str, str]) -> str:
  """config.title, what readers are told: the published name of the model.

  Args:
    name: as published.
    variants: those asked for.
    changes: {variant: what it changes of the model, in a word or two}.
  """
  said = [text for variant, text in changes.items() if variant in variants]
  return f"{name} ({', '.join(said)})" if said else name


def leave_one_out() -> dict:
  """Last event tests, second-last validates."""
  return {"name": "data.LeaveOneOut"}


def global_time() -> dict:
  """Two moments cut all histories: by share of events, or by date."""
  return {
    "name": "data.GlobalTime",
    "validation_fraction": 0.1,
    "test_fraction": 0.1,
    "validation_start": placeholder(str),
    "test_start": placeholder(str),
    "test_end": placeholder(str),
    "once_a_moment": False,
    "skip_actions": placeholder(tuple),
  }


def filter_options() -> dict:
  """config.filter: every option of data.encoding.encode at its default."""
  return {
    "min_user_events": 1,
    "min_item_events": 1,
    "iterate_filter": True,
    "deduplicate": True,
    "keep_unseen_items": False,
    "drop_missing_timestamps": False,
    "drop_unreadable_timestamps": False,
    "ignore_timestamps": False,
    "keep_null_words": False,
    "last_events": placeholder(int),
    "hold_out_items": 0.0,
    "hold_out_seed": 0,
  }


def rotary_time() -> dict:
  """A backbone's `rotary`: day, week, year, and from a minute to two years."""
  return {
    "name": "layers.RotaryTime",
    "periods": (86_400, 604_800, 31_556_952),
    "geometric": 12,
    "shortest": 60,
    "longest": 2 * 31_556_952,
  }


def share_dtype(c: ConfigDict) -> None:
  """Makes config.system.dtype the one field for the compute precision."""
  c.system.backbone.dtype = c.system.get_ref("dtype")


def quicktest(c: ConfigDict) -> None:
  """Shrinks a config in place: same parts, seconds on a CPU.

  The name says so too: what it measures must not pass for the real one's.
  """
  c.name += "-quicktest"
  c.data = ConfigDict(
    {
      "name": "simulator.Synthetic",
      "num_users": 200,
      "num_items": 100,
      "seed": 0,
    }
  )
  kept = {k: c.filter[k] for k in ("hold_out_items", "last_events")}
  c.filter = ConfigDict({**filter_options(), **kept})
  backbone = c.system.get("backbone", {})
  for name in ("num_layers", "num_encoder_layers", "num_decoder_layers"):
    if name in backbone:
      backbone[name] = min(backbone[name], 2)
  c.pipeline.batch_size = 8
  c.pipeline.readers = 1
  c.pipeline.row_length = 32
  if "max_length" in c.pipeline.layout:
    c.pipeline.layout.max_length = 32
  _few_negatives(c.objective)
  c.train.steps = 3
  c.train.log_every_steps = 1
  c.train.eval_every_steps = 3
  c.train.patience = 0
  c.requests.batch_size = 64


def _few_negatives(node: Any) -> None:
  """Draws no more of a small catalogue than it has, wherever a loss draws."""
  if isinstance(node, tuple | list):
    for part in node:
      _few_negatives(part)
  if not isinstance(node, ConfigDict | dict):
    return
  for key in [*node]:
    if key == "count":
      # What is drawn evenly, or of the batch, may be more than there is.
      plain = ("Uniform" in node["name"]) or ("InBatch" in node["name"])
      node[key] = min(node[key], 128 if plain else 64)
    else:
      _few_negatives(node[key])


def item_texts() -> dict:
  """config.content: the text of an item, and what makes a vector of it."""
  return {
    "directory": "",
    "template": "{title}. {categories}",
    "encoder": {"name": "content.TextEncoder", "path": ""},
  }


def text_tokens(width: int, max_tokens: int = 32) -> dict:
  """config.text_tokens: the words of an item's text, for models that read them.

  Their vectors start as MiniLM's, projected to `width`.
  """
  return {
    "directory": "",
    "template": "{title}. {categories}",
    "words": {
      "name": "content.WordPieces",
      "path": "",
      "max_tokens": max_tokens,
      "width": width,
    },
  }


def item_tokens(level_sizes: tuple[int, ...], dedup: int = 0) -> dict:
  """config.tokens: residual k-means, and a level that tells items apart.

  Without one (dedup=0) items may share all their codes.
  """
  unique = {"name": "semantic_ids.DedupLevel", "size": dedup}
  return {
    "directory": "",
    "tokenizer": {
      "name": "quantizers.ResidualKMeans",
      "level_sizes": level_sizes,
      "balanced": False,
    },
    "unique": unique if dedup else None,
    # The fit sees training items alone, as it will be when new ones come.
    "assign_unseen": True,
    "seed": 0,
  }


def join_trained_items(c: ConfigDict, name: str, file: str) -> None:
  """Codes of contents joined with the item vectors of a run, trained first."""
  c.before = {name: file}
  c.tokens.join = {
    "name": "semantic_ids.JoinedVectors",
    "items": {
      "name": "experiment.TrainedItems",
      "workdir": "",
      "checkpoint": "best",
    },
    "weight": 1.0,
    "ridge": 0.1,
  }


def quick_texts(c: ConfigDict) -> None:
  """Vectors that need no weights, of what the simulator knows of an item."""
  c.content.template = "{title}. {category}"
  c.content.encoder = ConfigDict({"name": "content.TfidfSvd", "width": 24})


def quick_words(c: ConfigDict) -> None:
  """Words that need no weights, and an encoder of their size."""
  c.text_tokens.template = "{title}. {category}"
  c.text_tokens.words = ConfigDict(
    {"name": "content.HashedWords", "num_words": 64, "max_tokens": 8}
  )
  c.text_tokens.words.width = 24
  c.system.item_encoder.update(content_width=8, num_words=64, word_width=24)


def quick_before(c: ConfigDict) -> None:
  """What is trained first, in its quick form."""
  if "before" in c:
    c.before = {
      name: f"{file}{'-' if ':' in file else ':'}quicktest"
      for name, file in c.before.items()
    }


def quick_tokens(c: ConfigDict) -> None:
  """Codes for a hundred items, and a model of them."""
  quick_texts(c)
  num_levels = len(c.system.level_sizes)
  quick_before(c)
  if "workdir" in c.tokens.tokenizer:
    # Levels of what is trained first are 16 codes in its quick form.
    sizes = [16] * num_levels
  elif not c.tokens.unique:
    c.tokens.tokenizer.level_sizes = sizes = (8,) * num_levels
  else:
    sizes = [8] * (num_levels - 1) + [64]
    own = len(c.tokens.tokenizer.level_sizes)
    c.tokens.tokenizer.level_sizes = tuple(sizes[:own])
  if c.tokens.unique and "size" in c.tokens.unique:
    c.tokens.unique.size = sizes[-1] = 64
  c.system.level_sizes = tuple(sizes)
  layout = c.pipeline.layout
  if "level_sizes" in layout:
    layout.level_sizes = tuple(sizes)
    layout.max_items = 10
    c.system.max_length = bool(layout.num_user_tokens) + 10 * num_levels
    c.pipeline.row_length = c.system.max_length
  if "next_item" in c.evals:
    c.evals.next_item.ks = (1, 5, 10)
  if "decoding" in c.evals:
    c.evals.decoding.update(users=20, ks=(1, 5, 10))
  c.retrieval.num_beams = 11


def order_only_movielens() -> dict:
  """A Parquet file of ML-1M with the order of events and no times."""
  return {
    "name": "sources.Files",
    "path": "",
    "user": "user_id",
    "item": "item_id",
    "timestamp": placeholder(str),
    "order": "position",
    "value": "rating",
  }


def mesh_options() -> dict:
  """config.mesh: copies of the parameters on all devices (core/sharding.py)."""
  return {"preset": "dp", "axes": {"data": -1, "model": 1}, "rules": {}}


def train_options(steps: int, eval_every_steps: int, patience: int) -> dict:
  """config.train: see train/loop.py."""
  return {
    "steps": steps,
    "log_every_steps": 50,
    "eval_every_steps": eval_every_steps,
    "checkpoint_every_steps": 0,
    "monitor": "ndcg@10",
    "patience": patience,
    "eval_users": placeholder(int),
    "keep_checkpoints": 2,
    "warm_start": "",
    "pretrained": placeholder(object),
  }


def request_options(batch_size: int = 128) -> dict:
  """config.requests: see experiment/options.py."""
  return {"batch_size": batch_size, "num_results": 200}


def next_item() -> dict:
  """Full ranking of the next item, without the user's earlier items."""
  return {
    "name": "evaluation.NextItem",
    "filter_history": True,
    "ks": (1, 5, 10, 50, 200),
  }


def search_stages() -> dict:
  """What beams and vectors find or lose; grid: options to try beside."""
  return {
    "name": "evaluation.SearchStages",
    "ks": (10, 50),
    "users": placeholder(int),
    "filter_history": True,
    "grid": {},
    "grid_users": 1000,
  }
