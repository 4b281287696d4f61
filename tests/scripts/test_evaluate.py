# SPDX-License-Identifier: Apache-2.0
"""scripts/evaluate.py changes options of evaluators for one time."""

import dataclasses
import json
import types

import pytest

from genrec_jax.cli import evaluate
from genrec_jax.core.build import build
from tests.evaluation.toy_ranker import toy_run
from tests.serving.formula_ranker import FEEDBACK, prepared


def test_options_are_read_and_wrong_ones_named():
  evals = {"next_item": build({"name": "evaluation.NextItem"})}
  texts = ["next_item.ks=[1, 7]", "next_item.retriever=scann"]
  changed = evaluate.with_options(evals, texts)["next_item"]
  assert (changed.ks, changed.retriever) == ((1, 7), "scann")
  assert evals["next_item"].retriever is None
  for text, said in (
    ("next_itm.ks=[1]", "Did you mean 'next_item'"),
    ("next_item.retrievr=scann", "Did you mean 'retriever'"),
    ("next_item.ks", "must be NAME.OPTION=VALUE"),
  ):
    with pytest.raises(ValueError, match=said):
      evaluate.with_options(evals, [text])


def _changed(option, name="NextItem"):
  evals = {"x": build({"name": f"evaluation.{name}"})}
  return evaluate.with_options(evals, [f"x.{option}"])["x"]


def test_values_are_read_as_json_and_python_write_them():
  for text, value in (("False", False), ("false", False), ("True", True)):
    assert _changed(f"filter_history={text}").filter_history is value
  assert _changed("retriever=None").retriever is None
  assert _changed("num_beams=7", "Decoding").num_beams == 7
  assert _changed("num_beams=null", "Decoding").num_beams is None
  assert _changed("attribute=7", "BeyondAccuracy").attribute == "7"


@pytest.mark.parametrize(
  ("option", "name", "said"),
  [
    ("filter_history=no", "NextItem", "filter_history must be True or False"),
    ("filter_history=0", "NextItem", "filter_history must be True or False"),
    ("users=many", "Decoding", "users must be a whole number, got 'many'"),
    ("users=true", "Decoding", "users must be a whole number, got True"),
    ("num_beams=x", "Decoding", "must be a whole number or None, got 'x'"),
    ("request_time=3", "NextItem", "request_time='3' is unknown"),
    ("ks=3", "NextItem", r"config.evals.x.ks must be cut-offs, .* got 3"),
    ("ks=5,10", "NextItem", "config.evals.x.ks must be cut-offs"),
    ("ks=[10,10]", "BeyondAccuracy", "config.evals.x.ks must be cut-offs"),
  ],
)
def test_values_of_another_kind_are_refused(option, name, said):
  with pytest.raises(ValueError, match=said):
    _changed(option, name)


def test_flags_of_stages_are_an_evaluator_for_one_time(tmp_path):
  run = toy_run(prepared(tmp_path / "data"), FEEDBACK)
  nodes = {
    "shown_items": {"name": "evaluation.ShownItems"},
    "mine": {"name": "evaluation.ServedList", "ks": (1, 3)},
    "next": {
      "name": "evaluation.NextItem",
      "filter_history": False,
      "request_time": "last",
    },
  }
  made = {n: build(nodes[n]) for n in ("mine", "next")}
  run = dataclasses.replace(
    run, evals={**run.evals, **made}, config={**run.config, "evals": nodes}
  )
  table = {"members": {"a": "item_knn"}, "num_results": 70}
  (tmp_path / "a.json").write_text(json.dumps(table))

  def flags(ensemble=None, ranker=None, candidates=None, weights="", assume=""):
    return types.SimpleNamespace(
      ensemble=ensemble,
      ranker=ranker,
      candidates=candidates,
      weights=weights,
      assume=assume,
      are_given=bool(ensemble or ranker),
    )

  assert evaluate.with_stages(run, flags()) is run
  both = flags(str(tmp_path / "a.json"), "runs/b", weights="cart=1")
  changed = evaluate.with_stages(run, both)
  # It takes the place of the config's, and asks as its next items are asked.
  assert list(changed.evals) == ["shown_items", "next", "served"]
  served = changed.evals["served"]
  assert (served.ranker, served.weights) == ("runs/b", "cart=1")
  assert served.candidates == 70 and served.request_time == "last"
  assert served.filter_history is False
  assert changed.config["evals"]["served"]["ensemble"] == table
  assert "mine" not in changed.config["evals"] and "mine" in run.evals
  assert served.ks == (1, 2, 10, 50)
  ranked = flags(ranker="runs/b", candidates=12, assume="likely")
  alone = evaluate.with_stages(run, ranked)
  assert (served.assume, alone.evals["served"].assume) == ("", "likely")
  assert alone.evals["served"].candidates == 12
  assert alone.evals["served"].ks == (1, 2, 10)
  assert alone.evals["served"].options.asks_this_run
