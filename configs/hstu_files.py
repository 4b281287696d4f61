# SPDX-License-Identifier: Apache-2.0
"""HSTU on your own event log: CSV, TSV, Parquet or JSON lines, also .gz.

    python scripts/train.py --config=configs/hstu_files.py --workdir=runs/own \
        --config.data.path=events.csv --config.data.user=visitor \
        --config.data.item=sku --config.data.timestamp=when

`config.data` maps columns to roles and has every field of
data/sources/files.py. An empty one is not read: `--config.data.timestamp=` for
a log without times. A table of items (`items_path`) gives titles.
docs/your_data.md shows it whole. The model and its hyperparameters are
those of hstu_movielens.py, with two changes that suit catalogues of any size:
1,024 negatives shared by a batch (.40 s a step instead of .50 s at full ML-1M
rows on 2 CPU cores), and stopping by the validation part alone.

Variants: `quicktest`, `small` (a notebook's: width 32, 300 steps), and of
hstu_movielens.py those that switch biases, `rotary`, `calendar` (hours are
those of `--config.data.time_zone`) and `global_time`; `grouped` reads eight old
events at a place in the first quarter of a window; `actions` reads what was
done with an item. Behind `actions`, lists of names:

    actions   that are read (default view, cart, purchase)
    targets   that are labels; events of others are history alone (default all)
    weights   how much labels count, such as purchase=5,view=0.5 (default 1)

`--config.pipeline.layout.missing_action=view` says what an event without one is
taken for, which is an error else.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, files, hstu_movielens

_VARIANTS = (
  "quicktest",
  "small",
  "actions",
  "grouped",
  "global_time",
  "no_time",
  "no_bias",
  "softmax",
  "rotary",
  "calendar",
)

_LISTS = ("actions", "targets", "weights")
# What variants change of the model, beside those of hstu_movielens.py.
_CHANGES = {"actions": "actions", "grouped": "grouped events"}


def get_config(arg: str = "") -> ConfigDict:
  """HSTU with both biases on sources.Files."""
  text, lists = files.lists(arg, _LISTS)
  variants = common.variants(text, _VARIANTS)
  if lists and "actions" not in variants:
    raise ValueError(
      f"/{'/'.join(lists)} behind this config's argument are for its variant"
      " `actions`: name it too."
    )
  shared = variants - {"quicktest", "small", *_CHANGES}
  c = hstu_movielens.get_config("-".join(shared))
  c.name = "-".join(["hstu_files", *sorted(variants - {"quicktest"})])
  c.data = files.data()
  c.objective.negatives = {
    "name": "objectives.UniformShared",
    "count": 1024,
  }
  c.train = files.long_training()
  if "small" in variants:
    _small(c)
  changes = [said for name, said in _CHANGES.items() if name in variants]
  if changes:
    head, _, tail = c.title.partition(" (")
    said = [tail.removesuffix(")")] if tail else []
    c.title = f"{head} ({', '.join(said + changes)})"
  if "actions" in variants:
    _read_actions(c, lists)
  if "quicktest" in variants:
    common.quicktest(c)
  if "grouped" in variants:
    places = c.pipeline.layout.max_length // 4
    groups = {"name": "layouts.EventGroups", "size": 8, "places": places}
    c.pipeline.layout.groups, c.system.groups = groups, True
  return c


def _read_actions(c: ConfigDict, lists: dict[str, tuple[str, ...]]) -> None:
  """Gives the layout the lists, and the model as many actions."""
  actions = lists.get("actions", ("view", "cart", "purchase"))
  c.data.action = "action"
  c.system.num_actions = len(actions)
  c.pipeline.layout.update(
    actions=actions,
    target_actions=lists.get("targets", ()),
    action_weights=_weights(lists.get("weights", ())),
    value_weight=False,
    missing_action=placeholder(str),
  )


def _weights(pairs: tuple[str, ...]) -> dict[str, float]:
  """{action: weight} of texts such as purchase=5."""
  found = {}
  for pair in pairs:
    action, _, weight = pair.rpartition("=")
    try:
      found[action] = float(weight)
    except ValueError:
      action = ""
    if not action:
      raise ValueError(
        f"/weights={','.join(pairs)}: {pair!r} must be an action and a number,"
        " such as purchase=5."
      )
  return found


def _small(c: ConfigDict) -> None:
  """A model that learns something within a minute on two CPU cores."""
  c.title = "HSTU (small)"
  files.small_next_item(c)
  length, width = c.system.num_positions, c.system.width
  c.system.backbone.update(
    num_positions=length, key_width=width, value_width=width
  )
  if "normalizer" in c.system.backbone.attention:
    c.system.backbone.attention.normalizer = float(length)
