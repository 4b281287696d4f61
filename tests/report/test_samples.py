# SPDX-License-Identifier: Apache-2.0
"""What a page shows of samples: before and after, nats and lists, escaped."""

import json

from genrec_jax.report import samples
from genrec_jax.report.page import PARTS


def _section(**changes):
  now = {"reward": 0.5, "reward_best": 0.9, "legal_share": 0.95}
  return {
    "metrics": {"validation": now, "test": {**now, "reward": 0.4}},
    "before": {"reward": 0.25, "legal_share": 0.5},
    "nats": {"test": {"level_1": 3.5, "level_2": 0.125}},
    "examples": [
      {
        "user": 7,
        "history": ["x", "y"],
        "next": "<b>",
        "samples": [{"items": ["p", "q"], "reward": 0.75, "log_p": -8.5}],
      }
    ],
    "config_values": {
      "rollout": {
        "name": "rollout.Online",
        "drawer": {"name": "rollout.BestLists"},
        "reward": {"name": "rewards.TrueNext"},
        "requests": 8,
        "renew_steps": 30,
      }
    },
    **changes,
  }


def _workdir(tmp_path):
  rows = [
    {"step": step, "validation/reward": step / 100, "validation/legal_share": 1}
    for step in (30, 60, 90)
  ]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "metrics.jsonl").write_text(text)
  return tmp_path


def test_the_part_of_samples(tmp_path):
  assert PARTS["rollout.SampleQuality"] is samples.part_of
  part = samples.part_of(_workdir(tmp_path), _section())
  assert part.body.count("<svg") == 2
  assert "is 0.2500 before, and 0.5000 now; 95.0% of the like" in part.body
  row = "<td>reward</td><td>0.2500</td><td>0.5000</td><td>0.4000</td>"
  assert row in part.body
  assert "<td>test</td><td>3.5000</td><td>0.1250</td>" in part.body
  assert "<td>p, q</td><td>0.7500</td><td>-8.5000</td>" in part.body
  assert "<p>User number 7: x, y; then came" in part.body
  assert "<b>" not in part.body and "&lt;b&gt;" in part.body
  assert "rounds, of 30 steps" in part.body
  assert part.facts["samples by"] == "rollout.BestLists of 8 requests a step"


def test_a_run_without_guards_knows_nothing_of_before(tmp_path):
  values = _section()["config_values"]
  rollout = {**values["rollout"], "renew_steps": 1}
  section = _section(before={}, examples=[], nats={})
  section["config_values"] = {"rollout": rollout}
  part = samples.part_of(tmp_path, section)
  assert "mean reward of samples is 0.5000 now" in part.body
  assert "rounds" not in part.body and "What it draws" not in part.body
