# SPDX-License-Identifier: Apache-2.0
"""The record survives what happens to cases; parts keep to their time."""

import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.bench import accelerator_training as training
from genrec_jax.bench.accelerator import (
  PARTS,
  TimedPart,
  choose,
  job_of,
  run_parts,
)
from genrec_jax.bench.accelerator_attention import (
  TOLERANCE,
  AttentionRow,
  Sizes,
  agreement,
  errors,
  measure_attention,
)
from genrec_jax.bench.accelerator_record import Record, table

_SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


def _rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def _job(folder, quicktest=True):
  return job_of(str(folder), _SCRIPTS, quicktest, data="", workdir="")


def _no_memory():
  raise jax.errors.JaxRuntimeError(
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 64.0GiB."
  )


def test_what_does_not_fit_or_fails_costs_no_other_case(tmp_path):
  path = tmp_path / "results.jsonl"
  record = Record(path, "attention")
  record.measure("dense", _no_memory)
  record.measure("broken", lambda: 1 // 0)
  seen = []

  def last():
    # What came before is on the disk while this one runs.
    seen.extend(row["case"] for row in _rows(path))
    return {"seconds": 0.5}

  record.measure("chunked", last)
  assert seen == ["dense", "broken"]
  dense, broken, chunked = _rows(path)
  assert dense["status"] == "out_of_memory" and "64.0GiB" in dense["error"]
  assert broken["status"] == "failed"
  assert "ZeroDivisionError" in broken["traceback"]
  assert chunked["status"] == "measured" and chunked["seconds"] == 0.5
  text = table(_rows(path), {"attention": ("seconds",)})
  assert "chunked  measured" in text and "64.0GiB" in text


def test_an_error_of_the_device_that_is_not_memory_is_a_failure(tmp_path):
  def broken():
    raise jax.errors.JaxRuntimeError("INTERNAL: the kernel did not launch")

  record = Record(tmp_path / "results.jsonl", "attention")
  record.measure("chunked", broken)
  assert _rows(tmp_path / "results.jsonl")[0]["status"] == "failed"


def test_no_case_starts_after_the_deadline(tmp_path):
  record = Record(tmp_path / "results.jsonl", "decoding", time.time() - 1)
  record.measure("beam", lambda: pytest.fail("it was called"))
  (row,) = _rows(tmp_path / "results.jsonl")
  assert row["status"] == "skipped"


@pytest.mark.slow
def test_time_that_one_part_leaves_is_the_next_ones(tmp_path):
  given = {}

  def part(name, share):
    def function(job, record):
      given[name] = record.deadline - time.time()

    return TimedPart(name, share, function, (), on_device=False)

  # The first part here is a process that only looks for a device.
  parts = (part("a", 0.25), part("b", 0.25), part("c", 0.5))
  _, good = run_parts(_job(tmp_path / "out"), 10.0, parts)
  left = given["a"] / 0.25
  assert good and left <= 600
  # Nothing took time: a quarter, then a third, then all of what was left.
  assert given["b"] == pytest.approx(left / 3, rel=0.02)
  assert given["c"] == pytest.approx(left, rel=0.02)


@pytest.mark.slow
def test_a_part_is_ended_with_its_time_and_leaves_its_cases(
  tmp_path, monkeypatch
):
  (tmp_path / "hanging_part.py").write_text(
    "import time\n"
    "def hang(job, record):\n"
    "  record.write('one', 'measured', seconds=1.0)\n"
    "  time.sleep(600)\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  import hanging_part

  parts = (TimedPart("hanging", 1.0, hanging_part.hang, ("seconds",)),)
  started = time.time()
  text, good = run_parts(_job(tmp_path / "out"), 0.3, parts)
  assert time.time() - started < 120
  statuses = [
    (r["case"], r["status"]) for r in _rows(tmp_path / "out/results.jsonl")
  ]
  assert statuses[1:] == [("one", "measured"), ("the rest", "cut_off")]
  assert statuses[0][0] == "device"
  assert good and "cut_off" in text
  assert (tmp_path / "out" / "table.txt").read_text() == text
  with pytest.raises(ValueError, match="from another run"):
    run_parts(_job(tmp_path / "out"), 1.0, parts)


@pytest.mark.slow
def test_a_cpu_is_refused(tmp_path):
  for part in (PARTS[0], PARTS[-1]):
    with pytest.raises(ValueError, match="no accelerator here, only the CPU"):
      run_parts(_job(tmp_path / part.name, quicktest=False), 1.0, (part,))
    assert not (tmp_path / part.name / "results.jsonl").exists()


def test_bad_input_names_itself(tmp_path):
  with pytest.raises(ValueError, match="Did you mean 'decoding'"):
    choose(["decodin"])
  assert [p.name for p in choose(["training", "attention"])] == [
    "attention",
    "training",
  ]
  with pytest.raises(ValueError, match="is no folder"):
    job_of(str(tmp_path), _SCRIPTS, False, data="/nowhere", workdir="")
  with pytest.raises(ValueError, match="--minutes=0.0 "):
    run_parts(_job(tmp_path), 0.0)


def test_without_data_training_says_so(tmp_path):
  record = Record(tmp_path / "results.jsonl", "training")
  training.train_tiger(_job(tmp_path, quicktest=False), record)
  (row,) = _rows(tmp_path / "results.jsonl")
  assert row["status"] == "skipped" and "--data" in row["note"]


def test_what_sampled_queries_must_give_is_a_sum_over_pairs():
  """The oracle of attention against loops over pairs, in float64."""
  row = AttentionRow.of(24, Sizes((24,), heads=2, width=4, repeats=1))
  q, k, v, position, seconds = (
    np.asarray(x.astype(jnp.float32), np.float64) for x in row.inputs
  )
  asked, known = (
    np.asarray(x)[0] for x in (row.info.query_times_BL, row.info.key_times_BL)
  )
  y = np.zeros_like(v[0])
  for i in range(24):
    for j in range(i + 1):
      bucket = int(np.log(max(1, asked[i] - known[j])) / 0.301)
      bias = position[23 + j - i] + seconds[bucket]
      score = np.sum(q[0, i] * k[0, j], axis=-1) + bias
      y[i] += (score / (1 + np.exp(-score)))[:, None] * v[0, j] / 24
  np.testing.assert_allclose(row.expected["y"][0], y, atol=1e-6)
  # The loss is linear in the values.
  weights = np.asarray(row.weights, np.float64)
  loss = np.sum(weights * y)
  pulled = np.sum(row.expected["gradient_of_v"] * v)
  assert pulled == pytest.approx(loss, rel=1e-4)


def test_a_wrong_gradient_does_not_agree():
  expected = {"y": np.ones(4), "gradient_of_q": np.arange(4.0)}
  close = {n: x * (1 + TOLERANCE / 2) for n, x in expected.items()}
  assert agreement(errors(close, expected))["agrees"]
  wrong = close | {"gradient_of_q": expected["gradient_of_q"] * 1.1}
  found = agreement(errors(wrong, expected))
  assert not found["agrees"]
  assert found["largest_error_of"] == "gradient_of_q"
  assert not agreement(errors({"y": np.full(4, np.nan)}, expected))["agrees"]


@pytest.mark.slow
def test_attention_agrees_on_this_machine(tmp_path):
  record = Record(tmp_path / "results.jsonl", "attention")
  measure_attention(_job(tmp_path), record)
  rows = _rows(tmp_path / "results.jsonl")
  assert [row["case"] for row in rows] == [
    f"{name} {what} {length}"
    for length in (64, 640)
    for name in ("chunked", "dense")
    for what in ("forward", "forward and backward")
  ]
  for row in rows:
    assert row["status"] == "measured" and row["agrees"], row
    assert row["mfu"] is None and row["seconds"] > 0


@pytest.mark.slow
def test_training_is_told_to_stop_and_saves(tmp_path):
  script = tmp_path / "train.py"
  script.write_text(
    "import pathlib, signal, sys, time\n"
    "def save(*_):\n"
    "  pathlib.Path(sys.argv[1]).write_text('saved')\n"
    "  sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, save)\n"
    "pathlib.Path(sys.argv[2]).write_text('on')\n"
    "time.sleep(600)\n"
  )
  saved, on = tmp_path / "saved", tmp_path / "on"
  assert not training._until([script, saved, on], time.time() + 5)
  assert on.exists() and saved.read_text() == "saved"
  script.write_text("import sys; sys.exit(3)")
  with pytest.raises(ValueError, match="train.py ended with 3"):
    training._until([script], time.time() + 60)
  script.write_text("pass")
  assert training._until([script], time.time() + 60)


def test_progress_is_the_last_step_and_the_best_validation():
  # A validation of 9 s before the third row.
  times = {50: 10.0, 100: 12.0, 150: 23.0, 200: 25.0}
  steps = [
    {"step": n, "seconds": at, "examples": 10 * n, "train/grad_norm": 1.0}
    | {"train/codes": 5 - n / 100}
    for n, at in times.items()
  ]
  worse, better = (
    {"step": n, "seconds": 22.0, "examples": 10 * n, "validation/ndcg@10": v}
    for n, v in ((200, 0.02), (100, 0.03))
  )
  rows = [*steps[:2], better, *steps[2:], worse]
  facts = training.progress(rows)
  assert facts["step"] == 200 and facts["loss"] == 3.0
  assert facts["examples_per_second"] == 250.0
  assert facts["best_step"] == 100 and facts["best_ndcg@10"] == 0.03
  assert facts["best_validation"] == {"ndcg@10": 0.03}
  assert training.progress(rows[:1])["best_validation"] is None
