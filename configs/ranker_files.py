# SPDX-License-Identifier: Apache-2.0
"""Rankers on your own event log: what a user does with an item that is shown.

    python scripts/run.py --workdir=runs/own \
        --config=configs/ranker_files.py:din/shown=view/tasks=cart,buy \
        --config.data.path=events.csv --config.data.user=visitor \
        --config.data.item=sku --config.data.timestamp=when \
        --config.data.action=what \
        --config.data.items_path=items.csv --config.data.items_item=sku

Variants: `din` (the default), `dcn` (DCN-v2), `hstu`, `genrank`: the models of
configs/*_kuairand.py, with the same features, tasks and training for all;
`small` (300 steps); `quicktest`. Behind them, lists of names:

    tasks   actions that are predicted (default cart, purchase)
    shown   one action, the weakest: the log has a row per action, and becomes
            impressions with labels (data/action_log.py says what that
            assumes); without it a row is an impression already, with all that
            was done in `action`, or in columns (config.data.signals)
    items   columns of the item table that are features: numbers by
            percentile, text by vocabulary, as config.data.items_types has it
    users   likewise, of the user table

Beside these there are features of ids, counts, the moment, and how often the
user met the item. The split is in time (config.split). On one busy CPU core a
step of `genrank`, which asks by request, took 2 s; those of the others take a
fraction of that.
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

from configs import (
  common,
  dcn_kuairand,
  din_kuairand,
  dlrm_kuairand,
  files,
  genrank_kuairand,
  hstu_ranking_kuairand,
  kuairand,
)

_MODELS = {
  "din": din_kuairand,
  "dcn": dcn_kuairand,
  "hstu": hstu_ranking_kuairand,
  "genrank": genrank_kuairand,
}
_VARIANTS = (*_MODELS, "small", "quicktest")
_LISTS = ("tasks", "shown", "items", "users")


def get_config(arg: str = "") -> ConfigDict:
  """DIN on carts and purchases, until the argument says more."""
  text, lists = files.lists(arg, _LISTS)
  variants = common.variants(text, _VARIANTS)
  models = sorted(variants & {*_MODELS}) or ["din"]
  shown = lists.get("shown", ())
  if len(models) > 1 or len(shown) > 1:
    raise ValueError(
      f"choose one of {', '.join(models)}."
      if len(models) > 1
      else f"shown={','.join(shown)}: name the one action that says it."
    )
  c = _MODELS[models[0]].get_config()
  c.name = "-".join(["ranker_files", *sorted(variants - {"quicktest"})])
  c.split = common.global_time()
  c.train = {**files.long_training(), "monitor": "auc"}
  tasks = lists.get("tasks", ("cart", "purchase"))
  if "quicktest" in variants:
    kuairand.quicktest(c)
    tasks = kuairand.QUICK_TASKS
    lists = {"items": ("category", "price")}
  else:
    c.data = files.data()
    c.data.action = "action"
    c.data.impressions = (*shown, *tasks) if shown else ()
  _ask(c, tasks, lists.get("items", ()), lists.get("users", ()))
  if "small" in variants:
    files.short_training(c)
  if "quicktest" in variants:
    c.train.update(steps=3, eval_every_steps=3, patience=0)
    if "max_events" in c.pipeline.layout:
      c.pipeline.layout.max_events = 12
    else:
      c.pipeline.layout.history_length = 8
  return c


def _ask(
  c: ConfigDict,
  tasks: Sequence[str],
  items: Sequence[str],
  users: Sequence[str],
) -> None:
  """Gives every part the tasks, and the features of these columns."""
  feedback = ConfigDict(kuairand.feedback(tasks))
  layout = c.pipeline.layout
  layout.feedback = layout.shown = feedback
  c.evals.shown_items.feedback = feedback
  c.objective.tasks = tasks
  c.value = dict.fromkeys(tasks, 1.0)
  features = _features(tasks, items, users)
  history = ("item.id", *(f"item.{name}" for name in items))
  if "history_features" in layout:
    layout.update(
      features=features, history_features=history, utc_offset_hours=0.0
    )
    dlrm_kuairand.match_features(c)
  else:
    layout.features.update(
      features=features, history=history, utc_offset_hours=0.0
    )
    c.system.num_actions = c.system.heads.num_tasks = len(tasks)
    hstu_ranking_kuairand.match_features(c)


def _features(
  tasks: Sequence[str], items: Sequence[str], users: Sequence[str]
) -> tuple[dict, ...]:
  """Ids, columns in their types, counts, the moment."""
  # A value that training met once teaches the row of the unseen.
  ids = {"size": 32_768, "min_count": 2}
  columns = (*(f"item.{x}" for x in items), *(f"user.{x}" for x in users))
  numbers = (
    *("item.count", "context.gap", "context.events", "affinity.id"),
    *(f"context.past_{task}" for task in tasks),
  )
  feature = kuairand.feature
  return (
    feature("item.id", "Vocabulary", **ids),
    feature("user.id", "Vocabulary", **ids),
    *(feature(x, "ByType", size=8192, min_count=2) for x in columns),
    feature("context.hour", "Vocabulary", size=24),
    feature("context.weekday", "Vocabulary", size=7),
    *(feature(x, "Percentiles", buckets=100) for x in numbers),
  )
