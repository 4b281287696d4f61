# SPDX-License-Identifier: Apache-2.0
"""Runs by role: names, seeds that come twice, and data that differ."""

import json

import pytest

from studies import roles

_KNOWN = ("full", "tiger", "tiger_cold")


def test_roles_are_known_and_have_runs():
  assert roles.roles_of(["full=a,b", "full=c", "tiger=d"], _KNOWN) == {
    "full": ["a", "b", "c"],
    "tiger": ["d"],
  }
  for texts, said in (
    (["ful=a"], "Did you mean 'full'"),
    (["full="], "names no workdir"),
    ([], "name the runs"),
  ):
    with pytest.raises(ValueError, match=said):
      roles.roles_of(texts, _KNOWN)


def test_a_seed_counts_once_and_roles_of_one_data_set_are_compared(monkeypatch):
  documents = {
    "a": {"seed": 0, "fingerprint": "f"},
    "b": {"seed": 1, "fingerprint": "f"},
    "again": {"seed": 1, "fingerprint": "f"},
    "elsewhere": {"seed": 2, "fingerprint": "g"},
  }
  monkeypatch.setattr(roles, "read", lambda folder: documents[folder.name])

  def values(**named):
    return roles.values_of(
      named, lambda d: {"x": d["seed"]}, lambda r: r.partition("_")[2]
    )

  assert values(full=["a", "b"], tiger=["a"], tiger_cold=["elsewhere"]) == {
    "full": {0: {"x": 0}, 1: {"x": 1}},
    "tiger": {0: {"x": 0}},
    "tiger_cold": {2: {"x": 2}},
  }
  for wrong in (
    {"full": ["b", "again"]},
    {"full": ["a"], "tiger": ["elsewhere"]},
  ):
    with pytest.raises(ValueError, match="given before, or is of other data"):
      values(**wrong)


def test_a_result_stands_for_its_run(tmp_path):
  path = tmp_path / "3.json"
  document = {"seed": 3, "fingerprint": "f", "sections": {}}
  path.write_text(json.dumps(document), encoding="utf-8")
  found = roles.values_of(
    {"full": [str(path)]}, lambda d: {"x": d["seed"] + 1}, lambda role: role
  )
  assert found == {"full": {3: {"x": 4}}}
