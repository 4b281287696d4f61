# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a served list: numbers as they are, names escaped."""

import pathlib

import numpy as np

from genrec_jax.evaluation import served_list_results as results
from genrec_jax.report.page import PARTS
from genrec_jax.report.retrieval import served_list

_FOLDER = pathlib.Path("run")


def _section(names=("<b>", "knn")):
  served = results.Served(
    users_R=np.array([0, 1, 2, 3]),
    events_R=np.arange(4),
    targets_R=np.arange(1, 5),
    hidden_R=np.zeros(4, bool),
    served_R=np.array([1, 2, 0, 0]),
    candidate_R=np.array([1, 4, 0, 0]),
    members=dict(
      zip(
        names,
        (np.array([1, 0, 3, 0]), np.array([2, 1, 0, 0])),
        strict=False,
      )
    ),
    union_R=np.array([4, 4, 4, 4]),
  )
  return {
    **results.section(served, (1, 2), 4, 5),
    "members": dict.fromkeys(names, "item_knn"),
    "rule": "ReciprocalRank",
    "ranker": "runs/<ranker>",
    "weights": "click=1",
    "assume": "likely",
    "examples": [
      {
        "user": 1,
        "next": "a",
        "items": [
          {
            "title": "<i>",
            "value": 0.25,
            "probabilities": {"click": 0.5, "like": 0.125},
          }
        ],
      },
      {"user": 2, "next": "b", "items": []},
    ],
    "notes": ["a note"],
  }


def test_the_parts_of_a_served_list():
  assert PARTS["evaluation.ServedList"] is served_list.part_of
  part = served_list.part_of(_FOLDER, _section())
  assert part.body.count("<svg") == 3
  assert "<b>" not in part.body and "&lt;b&gt;" in part.body
  assert "50.00% of targets are among the first 2" in part.body
  assert part.tiles[0][0] == "50.00%" and part.tiles[1][0] == "75.00%"
  assert "<td>&lt;b&gt; and knn</td><td>1</td><td>1</td><td>1</td>" in part.body
  # Of the two targets of each member the other has one.
  assert "<td>knn</td><td>2</td><td>50.0%</td><td>100.0%</td>" in part.body
  assert part.facts["ordered by"] == "runs/<ranker> click=1"
  assert part.notes == ["a note"]
  # A list, with the probability of each action.
  assert part.facts["assumed of what is placed"] == "likely"
  assert "The list of user number 1, who took a" in part.body
  row = "<td>&lt;i&gt;</td><td>0.2500</td><td>0.5000</td><td>0.1250</td>"
  assert row in part.body and "<i>" not in part.body
  assert "<th>item</th><th>value</th><th>P(click)</th>" in part.body


def test_one_member_shares_with_nobody():
  part = served_list.part_of(_FOLDER, _section(names=("a",)))
  assert "of the targets of" not in part.body and "a alone" in part.body
