# SPDX-License-Identifier: Apache-2.0
"""What configs on one's own files share: the columns, lists, the small form.

A variant may be followed by lists of names, which a flag could not set in all
the places that they belong to: FILE.py:VARIANT/NAME=a,b/OTHER=c.
"""

from collections.abc import Sequence

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common
from genrec_jax.core.suggest import choices_hint


def data() -> dict:
  """config.data: every field of sources.Files at its default."""
  return {
    "name": "sources.Files",
    "path": "",
    "user": "user",
    "item": "item",
    "timestamp": "timestamp",
    "action": placeholder(str),
    "value": placeholder(str),
    "request": placeholder(str),
    "order": placeholder(str),
    "title": placeholder(str),
    "attributes": (),
    "unit": placeholder(str),
    "nested": placeholder(str),
    "format": placeholder(str),
    "separator": placeholder(str),
    "columns": placeholder(tuple),
    "quote": '"',
    "actions": placeholder(tuple),
    "items_path": "",
    "items_item": "item",
    "items_title": "title",
    "items_attributes": placeholder(tuple),
    "items_types": (),
    "items_quote": '"',
    "users_path": "",
    "users_user": "user",
    "users_attributes": placeholder(tuple),
    "users_types": (),
    "users_quote": '"',
    "signals": (),
    "impressions": (),
    "window_hours": 24.0,
    "visit_minutes": 30.0,
    "time_zone": "UTC",
  }


def item_texts(*, small: bool = False) -> dict:
  """config.content: titles, by TF-IDF and a truncated SVD."""
  return {
    "directory": "",
    "template": "{title}",
    "encoder": {
      "name": "content.TfidfSvd",
      "width": 16 if small else 128,
      "min_texts": 1 if small else 2,
      "max_words": 20_000,
      "pairs": True,
      "seed": 0,
      "path": "",
    },
  }


def lists(
  arg: str | None, names: Sequence[str]
) -> tuple[str, dict[str, tuple[str, ...]]]:
  """The variants of a config's argument, and the lists behind them.

  Raises:
    ValueError: a list of another name, an empty one, or a name twice in one.
  """
  variants, *parts = (arg or "").split("/")
  found = {}
  for part in parts:
    name, _, text = part.partition("=")
    if name not in names:
      raise ValueError(
        f"unknown list {name!r} behind the variants of this config; write"
        f" /NAME=a,b.{choices_hint(name, names)}"
      )
    values = tuple(text.split(","))
    if not all(values) or len({*values}) < len(values) or name in found:
      raise ValueError(
        f"/{part} of this config's argument must name each of its values once,"
        " with a comma between them."
      )
    found[name] = values
  return variants, found


def long_training() -> dict:
  """config.train: until the validation part has not improved five times."""
  return common.train_options(steps=20_000, eval_every_steps=250, patience=5)


def short_training(c: ConfigDict) -> None:
  """300 steps: a small model learns something within a minute on a CPU."""
  c.train.update(steps=300, eval_every_steps=100, eval_users=1_000)


def small_next_item(c: ConfigDict) -> None:
  """The small form of a model of items: all but its backbone's widths."""
  length, width = 64, 32
  c.pipeline.layout.max_length = c.pipeline.row_length = length
  c.pipeline.batch_size = 32
  c.system.width = width
  c.system.num_positions = length
  c.system.backbone.update(num_heads=1, num_layers=2)
  c.objective.negatives.count = 256
  c.optimizer.update(learning_rate=3e-3, warmup_steps=50)
  short_training(c)
