# SPDX-License-Identifier: Apache-2.0
"""Command lines that cannot be: one line each, and nothing left behind."""

import shlex

import pytest

from genrec_jax.cli import ending, main

_FILES = {
  "syntax.py": "x = 1\ndef get_config(:\n",
  "imports.py": "x = 1\nimport no_such_module\n",
  "misnamed.py": "def get_confg():\n  return {}\n",
  "raises.py": "def get_config():\n  return {}['a']\n",
  "number.py": "def get_config():\n  return 3\n",
  "binary.py": "\x00",
  "small.py": "def get_config():\n  return {'name': 'a'}\n",
}
_QUICK = "train --config=hstu_movielens:quicktest --workdir=new"
_TABLE = [
  # Config files.
  ("train --config=hstu_movilens --workdir=new", "mean 'hstu_movielens'?"),
  ("train --config=configs/hstu_movielens.py --workdir=new", "no file"),
  ("train --config=smal.py --workdir=new", "Did you mean 'small.py'?"),
  ("train --config=syntax.py --workdir=new", "syntax.py, line 2: "),
  ("train --config=imports.py --workdir=new", "imports.py, line 2: Module"),
  ("train --config=misnamed.py --workdir=new", "no function get_config. Did"),
  ("train --config=raises.py --workdir=new", "raises.py, line 2: KeyError"),
  ("train --config=number.py --workdir=new", "returns int, not a ConfigDict"),
  ("train --config=binary.py --workdir=new", "null bytes"),
  ("train --config=small.py:quicktest --workdir=new", "takes no variants"),
  ("train --config=. --workdir=new", "there is no file ."),
  ("train --config=hstu_movielens:quick --workdir=new", "mean 'quicktest'?"),
  ("train --config= --workdir=new", "--config= needs a file or a name"),
  ("train --config --workdir=new", "--config needs a file or a name"),
  # Values of a config.
  (f"{_QUICK} --config.train.steps=abc", "must be a whole number"),
  (f"{_QUICK} --config.train.steps=1.5", "must be a whole number"),
  (f"{_QUICK} --config.system.dropout=high", "must be a number"),
  (f"{_QUICK} --config.system.backbone.time_bias=maybe", "true or false"),
  (f"{_QUICK} --config.evals.next_item.ks='1, 2)'", "must be a tuple"),
  (f"{_QUICK} --config.train=2", "must be a dict"),
  (f"{_QUICK} --noconfig.system.dropout", "must be a number"),
  (f"{_QUICK} --config.train.step=2", "config.train has no 'step'. Did you"),
  (f"{_QUICK} --config.trian.steps=2", "Did you mean 'train'?"),
  (f"{_QUICK} --config.train.steps.x=2", "config.train.steps has no keys"),
  (f"{_QUICK} --config.data.path=a.zip", "quicktest simulates its data"),
  ("train --config.seed=2 --workdir=new", "needs --config=..."),
  # Other flags.
  ("train --config=hstu_files", "needs --workdir=..."),
  ("train --workdir=new", "needs --config=..."),
  ("train", "needs --config=... and --workdir=..."),
  ("train --config=hstu_files --workdir=", "needs --workdir=..."),
  ("train --config=hstu_files --workdri=new", "Did you mean 'workdir'?"),
  ("train --config=hstu_files --workdir", "Missing value"),
  (f"{_QUICK} new", "'new' is no flag"),
  (f"{_QUICK} --num_processes=two", "must be a whole number"),
  (f"{_QUICK} --distributed=two", "must be true or false"),
  (f"{_QUICK} --lost-after-seconds=long", "must be a number"),
  ("evaluate --workdir=new --checkpoint=bst", "Did you mean 'best'?"),
  ("evaluate new", "'new' is no flag"),
  ("evaluate --workdir=new --weights=a=1", "--weights belong to --ranker"),
  ("evaluate --workdir=new --ranker=a --results=b", "leave --ensemble and"),
  ("serve --workdir=new --ready_hours=2", "belongs to --ready_lists"),
  ("serve --workdir=new --pre_candidates=9", "belongs to --pre_ranker"),
  ("serve --workdir=new --pre_ranker=a", "--pre_ranker belongs to --ranker"),
  ("serve --workdir=new --candidates=9", "--candidates belongs to --ranker"),
  ("recommend --workdir=new --user=1 --k=0", "whole number of at least 1"),
  ("recommend --workdir=new --users=1", "Did you mean 'user'?"),
  ("recommend --workdir=new", "give --user, --history or both"),
  ("rank --workdir=new", "needs --candidates=..."),
  ("compare --ours=a", "give --ours and --theirs"),
  ("compare --ours=a --theirs=b --part=tests", "Did you mean 'test'?"),
  ("report", "give either --workdir"),
  ("run --config=hstu_files --workdir=new --stop_after=dat", "mean 'data'?"),
  ("prepare --config=hstu_files --workdir=new --x", "unknown flag --x."),
  ("tokenize --config=hstu_files --workdir=new --assgn", "mean 'assign'?"),
  ("compile --config=hstu_files --topolgy=a", "Did you mean 'topology'?"),
]
# What is found out once the command has started.
_LATER = [
  ("train --config=small.py --workdir=new", "the config lacks seed"),
  (f"{_QUICK} --config.optimizer.name=train.adm", "Did you mean 'adamw'?"),
  (f"{_QUICK} --config.train.steps=0", "train.steps must be at least 1"),
  ("evaluate --workdir=new", "new holds no run: config.json is missing"),
  ("recommend --workdir=new --user=1", "new holds no run"),
  ("recommend --workdir=new --user=1 --ensemble=a.json", "there is no a.json"),
  ("report --workdir=new", "there is no new/evaluation.json"),
  ("compile --config=hstu_files --num_items=0", "must be at least 1"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("refused")
  for name, text in _FILES.items():
    (folder / name).write_text(text)
  return folder


def _error(line, folder, monkeypatch, capsys):
  """The exit status and the one line that it printed."""
  monkeypatch.chdir(folder)
  # JAX looks for TPUs no more than once.
  try:
    status = main.start(shlex.split(line))
    text = ""
  except SystemExit as error:
    status, text = 1, error.code
  out, err = capsys.readouterr()
  assert out == ""
  lines = (text or err).strip().splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: "), lines
  left = {str(p.relative_to(folder)) for p in folder.rglob("*")}
  assert {p for p in left if "__pycache__" not in p} - {"new"} == set(_FILES)
  return status, lines[0]


@pytest.mark.parametrize(("line", "words"), _TABLE)
def test_a_line_that_cannot_be(line, words, folder, monkeypatch, capsys):
  status, said = _error(line, folder, monkeypatch, capsys)
  assert (status, words in said) == (2, True), said
  assert not (folder / "new").exists()


@pytest.mark.parametrize(("line", "words"), _LATER)
def test_what_cannot_be_done(line, words, folder, monkeypatch, capsys):
  status, said = _error(line, folder, monkeypatch, capsys)
  assert (status, words in said) == (1, True), said


def test_values_are_read_as_the_config_has_them():
  from genrec_jax.cli.train import COMMAND

  words = [
    *("--config=hstu_movielens:quicktest", "--workdir=a"),
    *("--config.train.eval_users=5", "--config.title", "a b"),
    *("--config.evals.next_item.ks=1", "--config.evals.next_item.ks=7"),
    *("--noconfig.system.backbone.time_bias", "--config.system.dropout=1e-1"),
    *(
      "--config.mesh.rules={'embed': 'model'}",
      "--config.system.dtype=float16",
    ),
  ]
  COMMAND.parse("train", words)
  config = COMMAND.config.value
  assert (config.train.eval_users, config.title) == (5, "a b")
  assert config.evals.next_item.ks == (1, 7)
  assert config.system.backbone.time_bias is False
  assert config.system.dropout == 0.1
  assert config.mesh.rules.to_dict() == {"embed": "model"}
  # One field of two places.
  assert config.system.backbone.dtype == "float16"
  again = COMMAND.config.words
  COMMAND.parse("train", [*again, "--workdir=a"])
  assert COMMAND.config.value == config


def _raises(error):
  def command():
    raise error

  return command


_FULL = (
  'RESOURCE_EXHAUSTED: Failed writing: "/a/best/3.orbax-checkpoint-tmp/d": '
  "Failed to write 9 bytes to file 7: No space left on device [os_error_code"
)


@pytest.mark.parametrize(
  ("error", "words"),
  [
    (ValueError("a\n" * 1000), "(981 more lines)"),
    (ValueError("x" * 100_000), "(100,000 characters)"),
    (OSError(28, "No space left on device", "/a/b"), "device: /a/b cannot"),
    (ValueError(_FULL), "/a/best/3/d cannot be written. Make room"),
    (MemoryError(), "out of memory (RAM)"),
    (RuntimeError("RESOURCE_EXHAUSTED: 9 GB\nmore"), "--config.pipeline.batch"),
    (FloatingPointError("step 3: loss nan"), "step 3: loss nan"),
    (ImportError("No module named 'a'"), "extra it needs"),
    (TypeError("a fault"), "TypeError: a fault (ending.py, line "),
  ],
)
def test_an_error_is_short(error, words, capsys):
  assert ending.ended(_raises(error)) == 1
  err = capsys.readouterr().err
  assert err.startswith("error: ") and words in err
  assert len(err.splitlines()) <= 20 and len(err) < 21_000
  assert "Traceback" not in err


def test_a_traceback_is_there_for_who_wants_it(monkeypatch, capsys):
  monkeypatch.setenv(ending.TRACEBACK, "1")
  assert ending.ended(_raises(ValueError("a"))) == 1
  err = capsys.readouterr().err
  assert "Traceback" in err and err.endswith("error: a\n")


def test_an_interruption_is_one_line(capsys):
  assert ending.ended(_raises(KeyboardInterrupt())) == 130
  assert capsys.readouterr().err == "interrupted\n"
