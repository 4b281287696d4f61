# SPDX-License-Identifier: Apache-2.0
"""Results of format 1 in the terms of format 2 (evaluation/document.py).

In format 1 the one section stood beside the description of its run, with that
of shown items under a key of its own where there were both. Baselines were
called floors, and the oracle, a simulator's true model, the ceiling. A run had
no title: it takes that of its config as it is now.
"""

from collections.abc import Mapping
from typing import Any

from genrec_jax.report.config_files import title_of

# What evaluation/description.py said of a run.
_DESCRIPTION = (
  *("config", "title", "system", "dataset", "seed", "commit", "dirty", "date"),
  *("device", "train_seconds", "checkpoint", "step", "parameters"),
  *("sort_rule", "split_rule", "fingerprint", "artifacts"),
  *("num_users", "num_items", "num_events", "config_values"),
)
_SHOWN_ITEMS = "ranking"
_KEYS = {"floors": "baselines"}
_NAMES = {"ceiling": "oracle"}
# Mappings from a baseline's name.
_BY_BASELINE = ("baselines", "versus", "versus_frozen")


def in_format_2(document: Mapping[str, Any]) -> dict[str, Any]:
  """The document with its sections by name, and today's names in them."""
  about = {k: v for k, v in document.items() if k in _DESCRIPTION}
  rest = {k: v for k, v in document.items() if k not in _DESCRIPTION}
  shown = rest.pop(_SHOWN_ITEMS, rest if "tasks" in rest else None)
  sections = {}
  if shown is not rest:
    sections["next_item"] = _section("evaluation.NextItem", rest)
  if shown is not None:
    sections["shown_items"] = _section("evaluation.ShownItems", shown)
  if "title" not in about:
    about["title"] = title_of(about.get("config", ""))
  return {"format": 2, **about, "sections": sections}


def _section(evaluator: str, values: Mapping[str, Any]) -> dict[str, Any]:
  """A section with the names that format 2 has for baselines."""
  section = {_KEYS.get(key, key): value for key, value in values.items()}
  for key in _BY_BASELINE:
    if key in section:
      section[key] = {
        _NAMES.get(name, name): value for name, value in section[key].items()
      }
  return {"evaluator": evaluator, **section}
