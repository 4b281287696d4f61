# SPDX-License-Identifier: Apache-2.0
"""The retail study: its arms, what it reads, what it says of the rest."""

import dataclasses
import json

import pytest

from genrec_jax.evaluation import document as documents
from genrec_jax.train.termination import Termination
from studies import retail_arms, retail_verdicts
from studies.retail_arms import ARMS, TESTS, Arm, Options
from studies.trained_arm import Stopped

_OPTIONS = Options("invoices", steps=500)
_LEVELS = {"no_time": 0.10, "bias": 0.12, "calendar": 0.14}
_LEVELS["bias-calendar"] = 0.15


def _result(arm, level, **changes):
  """What an evaluation says of an arm, as far as the study reads it."""
  values = retail_arms.config_of(arm, _OPTIONS)
  values["data"]["path"] = "/elsewhere/invoices"
  values["prepared"] = "/elsewhere/data"
  values["train"] |= changes
  parts = {
    part: {"hr@10": 2 * level, "ndcg@10": level - shift}
    for part, shift in (("test", 0), ("test_filtered", 0.05))
  }
  baselines = {"most_popular": {"test": {"hr@10": 0.02, "ndcg@10": 0.01}}}
  section = {"metrics": parts, "baselines": baselines}
  return {"config_values": values, "sections": {"next_item": section}}


def _write(folder, arm, level, **changes):
  document = _result(arm, level, **changes)
  path = documents.result_path(folder, document["config_values"])
  documents.write_json(path, document)


def test_seed_by_seed_every_arm_of_every_test_once():
  arms = retail_arms.arms(TESTS, 3)
  assert len(set(arms)) == len(arms) == 24
  assert [a.seed for a in arms] == [0] * 8 + [1] * 8 + [2] * 8
  assert {a.arm for a in arms} == {*ARMS}
  for wrong, said in (((TESTS, 0), "--seeds=0"), ((("july",), 1), "'july'")):
    with pytest.raises(ValueError, match=said):
      retail_arms.arms(*wrong)


def test_an_arm_is_a_form_of_the_config():
  one = retail_arms.config_of(Arm("june", "bias-calendar", 2), _OPTIONS)
  assert one["name"] == "commerce_retail-bias-calendar-june"
  assert one["seed"] == 2 and one["train"]["steps"] == 500
  assert one["data"]["path"] == "invoices"
  assert one["split"]["test_start"] == "2011-06-01"
  assert one["system"]["calendar"] and one["system"]["backbone"]["time_bias"]
  none = retail_arms.config_of(Arm("october", "no_time", 0), Options())
  assert "calendar" not in none["system"] and none["train"]["steps"] == 2_000
  assert not none["system"]["backbone"]["time_bias"]
  assert none["split"]["test_start"] == "2011-10-01"


def test_results_that_exist_are_read_and_the_rest_is_said(tmp_path):
  arms = retail_arms.arms(TESTS, 3)
  for arm in arms:
    if arm.test == "october" and (arm.arm, arm.seed) != ("calendar", 1):
      noise = arm.seed * (1 + ARMS.index(arm.arm)) / 1e4
      _write(tmp_path, arm, _LEVELS[arm.arm] + noise)
  found = retail_arms.results_of(arms, tmp_path, _OPTIONS)
  assert sum(x is not None for x in found.values()) == 11
  rows = retail_verdicts.table(found).splitlines()
  cells = [[c.strip() for c in row.split("|")[1:-1]] for row in rows]
  assert {len(row) for row in cells} == {7}
  assert cells[2][:4] == ["october", "most popular", "0.0200", "0.0100"]
  by_name = {(row[0], row[1]): row for row in cells[3:]}
  assert len(by_name) == 8
  bias = by_name["october", "bias"]
  # t of two degrees of freedom, 4.303, by .0002 / sqrt(3).
  assert bias[2].startswith("0.2404 [") and bias[3] == "0.1202 [0.1197, 0.1207]"
  assert bias[5].startswith("0.0702 [") and bias[6] == "0, 1, 2"
  assert by_name["october", "calendar"][6] == "0, 2; 1 not run"
  assert by_name["june", "bias"][2:] == ["-", "-", "-", "-", "not run"]
  claims = retail_verdicts.claims(found)
  json.dumps(claims, allow_nan=False)
  assert claims["5 a time bias helps, october"]["verdict"] == "holds"
  assert claims["5 a time bias helps, october"]["seeds"] == 3
  assert claims["8 a bias alone lacks the season, october"]["seeds"] == 2
  june = [r["verdict"] for c, r in claims.items() if c.endswith("june")]
  assert len(june) == 4 and all(v.startswith("not run: ") for v in june)


def test_a_result_of_another_config_is_refused(tmp_path):
  arm = Arm("june", "bias", 0)
  _write(tmp_path, arm, 0.1, steps=2_000)
  with pytest.raises(ValueError, match="train.steps: 2000, not 500"):
    retail_arms.measured(arm, tmp_path, _OPTIONS)
  whole = dataclasses.replace(_OPTIONS, steps=None)
  assert retail_arms.measured(arm, tmp_path, whole) is not None


@pytest.mark.slow
def test_an_arm_is_trained_once_and_its_result_is_kept(tmp_path, monkeypatch):
  results, quick = tmp_path / "results", Options(quick=True)
  arm, said = Arm("october", "bias", 1), []
  stopped = Termination()
  stopped.arrived = True
  with pytest.raises(Stopped):
    retail_arms.run(arm, tmp_path, results, quick, stopped)
  found = retail_arms.results_of([arm], results, quick)
  assert found == {arm: None}
  retail_arms.run_missing(
    found, tmp_path, results, quick, Termination(),
    lambda now: said.append(retail_verdicts.table(now)),
  )  # fmt: skip
  assert len(said) == 1 and "item-kNN" in said[0]
  (path,) = results.glob("*/*.json")
  assert path.parent.name == "commerce_retail-bias-quicktest"
  assert found == retail_arms.results_of([arm], results, quick)
  assert 0 <= retail_verdicts.metrics_of(found[arm])["test"]["hr@10"] <= 1
  monkeypatch.setattr(retail_arms, "run", lambda *_: 1 / 0)
  retail_arms.run_missing(
    found, tmp_path, results, quick, Termination(), said.append
  )
  assert len(said) == 1
