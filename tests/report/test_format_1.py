# SPDX-License-Identifier: Apache-2.0
"""Results of format 1, of which results/ still has some, in today's terms."""

import json
import pathlib

import pytest

from genrec_jax.report.format_1 import in_format_2
from genrec_jax.report.runs import (
  NEXT_ITEM,
  SHOWN_ITEMS,
  read_result,
  sections,
)

_RESULTS = pathlib.Path(__file__).resolve().parents[2] / "results"
_FOUND = {
  "config": "both",
  "floors": {"item_knn": {"test": 1}, "ceiling": {"test": 2}},
  "versus": {"item_knn": {"test": 3}, "ceiling": {"test": 4}},
}
_SHOWN = {
  "tasks": ["click"],
  "floors": {"item_rate": {"test": 5}},
  "versus": {"item_rate": {"test": 6}},
  "versus_frozen": {"item_rate": {"test": 7}},
}


def test_a_run_that_searches_is_one_section_with_an_oracle():
  (section,) = sections(in_format_2(_FOUND))
  assert section["evaluator"] == NEXT_ITEM
  assert section["baselines"] == {
    "item_knn": {"test": 1},
    "oracle": {"test": 2},
  }
  assert section["versus"] == {"item_knn": {"test": 3}, "oracle": {"test": 4}}


def test_a_run_that_scores_is_one_section():
  (section,) = sections(in_format_2({"config": "ranker", **_SHOWN}))
  assert (section["evaluator"], section["config"]) == (SHOWN_ITEMS, "ranker")
  assert section["baselines"] == {"item_rate": {"test": 5}}


def test_a_run_that_does_both_has_two_sections_with_their_own_baselines():
  found, shown = sections(in_format_2({**_FOUND, "ranking": _SHOWN}))
  assert (found["evaluator"], shown["evaluator"]) == (NEXT_ITEM, SHOWN_ITEMS)
  assert (
    set(found["baselines"])
    == set(found["versus"])
    == {
      "item_knn",
      "oracle",
    }
  )
  assert "tasks" not in found and "ranking" not in found
  assert shown["config"] == "both"
  assert shown["baselines"] == {"item_rate": {"test": 5}}
  assert shown["versus"] == {"item_rate": {"test": 6}}
  assert shown["versus_frozen"] == {"item_rate": {"test": 7}}


def _keys(node):
  for key, value in node.items():
    yield key
    if isinstance(value, dict):
      yield from _keys(value)


@pytest.mark.parametrize(
  "config", ["hstu_synthetic", "hstu_joint_movielens", "genrank_kuairand"]
)
def test_no_stored_result_brings_an_old_name_in(config):
  path = _RESULTS / config / "0.json"
  old = json.loads(path.read_text("utf-8"))
  found = sections(read_result(path))
  assert len(found) == 1 + ("ranking" in old)
  for section in found:
    assert not {"floors", "ceiling"} & set(_keys(section))
    assert section["config_values"] == old["config_values"]
    raw = old.get("ranking", old) if "tasks" in section else old
    assert list(section["baselines"].values()) == list(raw["floors"].values())
    assert list(section["versus"].values()) == list(raw["versus"].values())
    assert section["metrics"] == raw["metrics"]
