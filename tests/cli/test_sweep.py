# SPDX-License-Identifier: Apache-2.0
"""`genrec sweep`: the same trials for every config, each of them once."""

import json
import pathlib

import pytest

from genrec_jax.cli import main, sweep

_CONFIGS = "--configs=dlrm_kuairand:quicktest,dcn_kuairand:quicktest"


@pytest.fixture
def started(monkeypatch):
  """Commands in place of which a log of validations is written."""
  commands = []

  def status_of(command):
    words = dict(w.split("=", 1) for w in command if w.startswith("--"))
    commands.append(words)
    if words.get("--config.system.dropout") == "0.2":
      return 1
    workdir = pathlib.Path(words["--workdir"])
    workdir.mkdir(parents=True)
    name, number = workdir.parts[-2:]
    auc = 0.6 + 0.01 * int(number) + 0.1 * name.startswith("dcn")
    row = {"step": 5, "seconds": 2.0, "validation/auc": auc}
    (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return 0

  monkeypatch.setattr(sweep, "status_of", status_of)
  return commands


def _sweep(folder, *words):
  return main.start(["sweep", _CONFIGS, f"--workdir={folder}", *words])


_SPACE = "--space=system.dropout=0.1,0.2"


def test_every_config_has_the_same_trials_once(tmp_path, started, capsys):
  assert _sweep(tmp_path, "--trials=3", _SPACE, "--set=train.steps=7") == 0
  assert len(started) == 6
  assert {words["--config.train.steps"] for words in started} == {"7"}
  assert {words["--stop_after"] for words in started} == {"training"}
  by_config = {}
  for words in started:
    drawn = words.get("--config.system.dropout")
    by_config.setdefault(words["--config"], []).append(drawn)
  ours, theirs = by_config.values()
  assert ours == theirs and ours[0] is None and {"0.1", "0.2"} >= {*ours[1:]}
  # Later trials read what the first has prepared.
  for words in started:
    workdir = pathlib.Path(words["--workdir"])
    prepared = words.get("--config.prepared")
    first = str(workdir.parent / "0" / "data")
    assert prepared == (None if workdir.name == "0" else first)
  record = json.loads((tmp_path / "sweep.json").read_text())
  assert [len(trials) for trials in record.values()] == [3, 3]
  out = capsys.readouterr().out
  assert "| dcn_kuairand-quicktest | 3 |" in out
  assert out.count("--config.seed=SEED") == 2

  # The same again does nothing; more trials go on.
  assert _sweep(tmp_path, "--trials=3", _SPACE, "--set=train.steps=7") == 0
  assert len(started) == 6
  assert _sweep(tmp_path, "--trials=4", _SPACE, "--set=train.steps=7") == 0
  assert len(started) == 8


def test_a_folder_of_other_trials_is_refused_and_keeps_them(
  tmp_path, started, capsys
):
  space = "--space=system.dropout=0.1"
  assert _sweep(tmp_path, "--trials=2", space, "--set=train.steps=7") == 0
  before, count = (tmp_path / "sweep.json").read_text(), len(started)
  for words in ((space,), ("--space=system.dropout=0", "--set=train.steps=7")):
    assert _sweep(tmp_path, "--trials=2", *words) == 2
    assert "with other flags" in capsys.readouterr().err
  assert len(started) == count
  assert (tmp_path / "sweep.json").read_text() == before


def test_trials_are_listed_and_not_run(tmp_path, started, capsys):
  assert _sweep(tmp_path, "--trials=2", "--list") == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 4 and not started
  assert all(line.startswith("genrec run --config=") for line in lines)
  assert not (tmp_path / "sweep.json").exists()


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (["--space=system.dropuot=0,1"], "Did you mean 'dropout'"),
    (["--set=train.steps"], "write KEY=VALUE"),
    (["--space=system.dropout=high"], "must be a number"),
    (["--configs=dlrm_kuairand,dlrm_kuairand"], "names dlrm_kuairand twice"),
    (["--configs=dlrm_kuairand,longer_synthetic"], "differ in config.data"),
  ],
)
def test_what_cannot_be_is_said_before_anything_runs(
  tmp_path, started, words, said, capsys
):
  assert _sweep(tmp_path, *words) == 2
  assert said in capsys.readouterr().err
  assert not started


def test_a_signal_ends_the_sweep(tmp_path, monkeypatch):
  monkeypatch.setattr(sweep, "status_of", lambda command: 143)
  assert _sweep(tmp_path, "--trials=2") == 143
  assert not (tmp_path / "sweep.json").exists()
