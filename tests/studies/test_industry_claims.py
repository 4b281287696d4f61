# SPDX-License-Identifier: Apache-2.0
"""Claims about rankers of industry: runs that exist, verdicts over seeds."""

import json
import math
import pathlib

import pytest

from genrec_jax.cli.config_flag import ConfigFlag
from studies import (
  industry_arithmetic,
  industry_claims,
  industry_runs,
  industry_verdicts,
)
from studies.industry_runs import ROLES
from studies.industry_verdicts import Alike, Gains, GrowsWithSize, Order

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_a_shipped_config_whose_keys_exist(role):
  one = ROLES[role]
  changes = [f"--config.{change}" for change in one.changes]
  flag = ConfigFlag("")
  flag.take([f"--config={one.form}", *changes])
  flag.load()
  assert flag.value.name == one.config
  command = one.command(role, 2, "runs/x", "a log")
  assert f"--workdir=runs/x/{role}-2" in command
  assert "--config.seed=2" in command
  simulated = flag.value.data.name.startswith("simulator.")
  assert ("data.path" not in command) == simulated


def test_claims_rest_on_known_roles_and_have_numbers():
  assert set(industry_verdicts.roles_of(())) <= set(ROLES)
  assert industry_verdicts.roles_of(["86"]) == [
    *("genrank", "genrank_full_mask", "genrank_wide"),
    "genrank_full_mask_wide",
  ]
  found = industry_verdicts.judged({})
  assert all(row["verdict"].startswith("not run") for row in found.values())
  asked = {50, 51, 52, 56, 57, 86, 94, 95, 103, 111, 120, 122, 123}
  asked |= {128, 129, 130, 136, 137, 147}
  names = [*found, *industry_claims.NOT_SHIPPED]
  for study in (
    *industry_claims.STUDIES,
    industry_claims.UTILISATION,
    industry_claims.SERVED,
  ):
    names += study.claims
  numbers = {n.split()[0] for n in names}
  assert {str(n) for n in asked - {51, 103, 129}} <= numbers


def _values(**roles):
  """{role: {seed: {"m": value}}}."""
  return {
    role: {seed: {"m": value} for seed, value in enumerate(values)}
    for role, values in roles.items()
  }


_NEAR = [0.700, 0.701, 0.7005]
_ABOVE = [0.730, 0.7312, 0.7302]


def test_an_order_needs_its_margin_over_seeds():
  values = _values(a=_ABOVE, b=_NEAR)
  assert Order("a", "b", "m").judge(values)["verdict"] == "holds"
  assert Order("b", "a", "m").judge(values)["verdict"] == "not supported"
  row = Order("a", "b", "m", margin=0.02).judge(values)
  assert row["verdict"] == "holds" and row["figures"]["a"] == 0.7305
  far = Order("a", "b", "m", margin=0.05).judge(values)
  assert far["verdict"] == "not supported"
  one = Order("a", "b", "m", margin=0.02).judge(_values(a=[0.8], b=[0.7]))
  assert one["verdict"] == "none: one seed"
  lacking = Order("a", "c", "m", margin=0.02).judge(values)
  assert lacking["verdict"] == "not run: no run is given as c"


def test_alike_needs_both_sides_within_the_margin():
  values = _values(a=_NEAR, b=[0.7008, 0.7001, 0.701], c=_ABOVE)
  assert Alike("a", "b", "m", 0.01).judge(values)["verdict"] == "holds"
  for one, other in (("a", "c"), ("c", "a")):
    row = Alike(one, other, "m", 0.01).judge(values)
    assert row["verdict"] == "not supported", (one, other)


def test_gains_are_compared_by_as_often_as_is_claimed():
  values = _values(
    a=[0.75, 0.751, 0.7502], a0=_NEAR, b=[0.72, 0.7206, 0.7204], b0=_NEAR
  )
  twice = Gains(("a", "a0"), ("b", "b0"), 2.0, "m").judge(values)
  assert twice["verdict"] == "holds" and twice["gains"] == [0.0499, 0.0198]
  thrice = Gains(("a", "a0"), ("b", "b0"), 3.0, "m").judge(values)
  assert thrice["verdict"] == "not supported"


def test_a_rise_is_by_decades_of_parameters():
  values = _values(s=[0.10, 0.11], m=[0.20, 0.205], l=[0.30, 0.312])
  for role, size in (("s", 1e5), ("m", 1e6), ("l", 1e7)):
    for seed in values[role].values():
      seed["parameters"] = size
  row = GrowsWithSize(("s", "m", "l"), "m").judge(values)
  assert row["slope_by_decade"] == pytest.approx(0.1005)
  assert row["verdict"].startswith("a rise holds")


def _document(seed, fingerprint="f"):
  metrics = {"long_view": {"auc": 0.7, "gauc": None}}
  return {
    "seed": seed,
    "fingerprint": fingerprint,
    "parameters": 5,
    "sections": {
      "shown_items": {
        "metrics": {"test": metrics},
        "frozen": {"test": {"long_view": {"gauc": 0.6}}},
      },
      "requests": {"metrics": {"test": {"click": {"qauc": 0.8}}}},
      "taken": {"metrics": {"test": {"model": {"recall@10": 0.1}}}},
    },
  }


def test_what_is_there_is_read_and_what_lacks_has_a_command(
  tmp_path, monkeypatch
):
  documents = {}

  def put(folder, document, name="evaluation.json"):
    path = tmp_path / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    documents[path] = document

  monkeypatch.setattr(industry_runs, "read_result", documents.__getitem__)
  runs, results = (str(tmp_path / name) for name in ("runs", "results"))
  put("runs/dcn-0", _document(0))
  put("runs/dcn-x", _document(7))
  put("runs/genrank_wide-1", _document(1))
  # A role with changes is no config as it is.
  put("results/genrank_kuairand", _document(2), "2.json")
  values = industry_runs.read_values(runs, results)
  assert {role: [*by_seed] for role, by_seed in values.items()} == {
    "dcn": [0],
    "genrank": [2],
    "genrank_wide": [1],
  }
  assert values["dcn"][0] == {
    "parameters": 5.0,
    "long_view/auc": 0.7,
    "long_view/frozen_gauc": 0.6,
    "click/qauc": 0.8,
    "recall@10": 0.1,
  }
  wanted = industry_runs.missing(["dcn", "genrank_wide"], values, 2, runs)
  assert len(wanted) == 2 and "--config.seed=1" in wanted[0]
  assert "--config.system.width=128" in wanted[1]
  put("runs/hstu-0", _document(0, "g"))
  with pytest.raises(ValueError, match="of other data than"):
    industry_runs.read_values(runs, results)
  # Simulated logs are compared among themselves.
  del documents[tmp_path / "runs" / "hstu-0" / "evaluation.json"]
  (tmp_path / "runs" / "hstu-0" / "evaluation.json").unlink()
  put("runs/memory-0", _document(0, "g"))
  assert 0 in industry_runs.read_values(runs, "")["memory"]


def test_other_studies_are_read_or_named(tmp_path):
  found = industry_claims.of_studies(tmp_path)
  assert all(
    row["verdict"].startswith("not run: python") for row in found.values()
  )
  row = {"verdict": "holds", "p_holm": 0.01}
  (tmp_path / "crosses.json").write_text(
    json.dumps({"claims": {"130 close to attention": row}})
  )
  (tmp_path / "ranking.json").write_text(json.dumps({"56": row}))
  found = industry_claims.of_studies(tmp_path)
  assert found["130 mixing close to attention, simulated"] == row
  assert found["56 a signal costs the same"] == row
  far = found["130 mixing far above none, simulated"]["verdict"]
  assert far.startswith("not run") and "no claim" in far


def test_what_was_timed_says_on_what(tmp_path):
  utilisation = {
    "device": "1 x NVIDIA H200",
    "rate_of_mixed_tokens_over_small_towers": {
      "forward 4": 6.0,
      "train 4": 5.5,
    },
  }
  served = {
    "device": "1 x cpu",
    "rankers": {
      "A": {
        "candidates": {
          "64": {"kept_per_second": 30.0, "recomputed_per_second": 10.0}
        }
      }
    },
  }
  for name, document in (("utilisation", utilisation), ("served", served)):
    (tmp_path / f"{name}.json").write_text(json.dumps(document))
  found = [*industry_claims.of_bench(tmp_path).values()]
  assert found[0]["verdict"] == "seen on 1 x NVIDIA H200"
  assert found[1]["kept_over_recomputed"] == {"A": {"64": 3.0}}
  utilisation["rate_of_mixed_tokens_over_small_towers"]["train 4"] = 4.0
  (tmp_path / "utilisation.json").write_text(json.dumps(utilisation))
  found = [*industry_claims.of_bench(tmp_path).values()]
  assert found[0]["verdict"] == "not seen on 1 x NVIDIA H200"


def test_claims_come_by_number_and_by_what_is_asked():
  found = {n: {} for n in ("aim: x", "136 b", "50 a", "136 a")}
  assert [*industry_claims.numbered(found, [])] == [
    *("50 a", "136 b", "136 a"),
    "aim: x",
  ]
  assert [*industry_claims.numbered(found, ["aim"])] == ["aim: x"]


def test_published_figures_agree_and_groups_save_what_is_printed():
  latency = industry_arithmetic.latency()
  assert latency["verdict"] == "the figures agree with each other"
  # By hand: 2106 / 107 over twice 44.57 / 4.47, and 14.3 / 14.5.
  assert latency["latency_expected"] == pytest.approx(0.987, abs=1e-3)
  assert latency["latency_printed"] == pytest.approx(0.986, abs=1e-3)
  merged = industry_arithmetic.merged_flops()
  assert merged["verdict"] == "exact"
  assert merged["saved"] == pytest.approx(3 / 7, abs=1e-3)
  assert merged["saves_beyond_events"] == 768
  grown = industry_arithmetic.growth()
  assert grown["verdict"].startswith("direction holds")
  # Few days have mostly what was there at the start.
  assert industry_arithmetic.growth(days=12)["verdict"] == "fails"


def test_parameters_grow_where_one_is_larger():
  claim = industry_arithmetic.parameters_by_items
  assert claim({"a": (5, 5)})["verdict"] == "holds"
  assert claim({"a": (5, 6), "b": (5, 5)})["verdict"] == "not of a"
  assert claim({"a": (5, 6)})["verdict"] == "fails"


@pytest.mark.slow
def test_item_tables_are_what_grows():
  counted = industry_arithmetic.counted_parameters(64)
  growth = {model: two - one for model, (one, two) in counted.items()}
  (ids,) = (n for model, n in growth.items() if "item ids" in model)
  assert ids == 64 * 64 and sorted(growth.values()) == [0, 0, ids]
  assert all(math.isfinite(one) for one, _ in counted.values())
