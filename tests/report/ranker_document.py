# SPDX-License-Identifier: Apache-2.0
"""A ranker's document (evaluation/shown_items_results.py) with made-up
figures."""

TASKS = ("cart", "purchase")
# What every document says, and one of a run that also searches says once.
OF_THE_RUN = (
  "config",
  "title",
  "system",
  "dataset",
  "seed",
  "commit",
  "dirty",
  "date",
  "device",
  "train_seconds",
  "checkpoint",
  "step",
  "parameters",
  "sort_rule",
  "split_rule",
  "num_users",
  "num_items",
  "config_values",
)


def metrics_of(auc):
  return {
    "auc": auc,
    "gauc": None if auc is None else auc - 0.1,
    "ne": 0.9,
    "log_loss": 0.3,
    "ece": 0.01,
    "base_rate": 0.12,
    "one_class_impressions": 0.376,
  }


def ranker_document(versus=(0.02, 0.01, 0.03), purchase_auc=0.7, **changes):
  by_task = {"cart": metrics_of(0.75), "purchase": metrics_of(purchase_auc)}
  bands = {t: {"auc": [0.6, 0.8], "ne": [0.8, 1.0]} for t in TASKS}
  baseline = {"cart": metrics_of(0.6), "purchase": metrics_of(0.65)}
  group = {"impressions": 5, "share": 1.0, "tasks": by_task}
  curve = {"predicted": [0.1, 0.3], "observed": [0.1, 0.2], "count": [5, 5]}
  return {
    "config": "hstu_<x>",
    "title": "HSTU <y>",
    "system": "HSTU",
    "dataset": "synthetic",
    "seed": 0,
    "commit": "0123456789abcdef",
    "dirty": False,
    "date": "2026-01-02T03:04:05",
    "device": "cpu x 1",
    "train_seconds": 125.0,
    "checkpoint": "best",
    "step": 400,
    "parameters": 1234,
    "sort_rule": "stable",
    "split_rule": "GlobalTime",
    "num_users": 20,
    "num_items": 30,
    "num_events": 9,
    "fingerprint": "f0",
    "config_values": {"train": {"monitor": "auc"}},
    "tasks": list(TASKS),
    "num_impressions": {"test": 1000},
    "num_requests": {"test": 300},
    "flops_per_impression": {"test": 5e6},
    "metrics": {"test": by_task},
    "intervals": {"test": bands},
    "curves": {"test": {t: curve for t in TASKS}},
    "baselines": {
      "item_rate": {"test": baseline},
      "base_rate": {"test": {t: metrics_of(0.5) for t in TASKS}},
    },
    "versus": {
      "item_rate": {
        "test": {
          "cart": {"auc": [0.15, 0.1, 0.2], "gauc": [-0.05, -0.08, -0.02]},
          "purchase": {"auc": list(versus)} if versus else {},
        }
      }
    },
    "slices": {
      "test": {
        "history_length": {"1-5": group, ">200": group},
        "item_popularity": {"1-9 training events": group},
      }
    },
    "notes": ["<note>"],
  } | changes
