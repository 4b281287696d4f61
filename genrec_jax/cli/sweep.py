# SPDX-License-Identifier: Apache-2.0
"""Gives each of several configs the same tuning trials, and says which is best.

    genrec sweep --configs=dcn_kuairand,din_kuairand,longer_kuairand \\
        --trials=6 --workdir=runs/sweep --set=data.path=kuairand-pure
    genrec sweep --configs=... --trials=6 --workdir=runs/sweep --list

Trial 0 is a config as it is; the others change the keys of --space, to the same
values in every config, drawn by --seed. Each is genrec run up to its training,
which stops early and keeps what is best on validation; nothing of the test part
is read. Finished trials are skipped, so that the same command goes on, and more
--trials may follow; trials of other flags need another folder. A trial that
fails, as where it diverges, counts as one.

WORKDIR/CONFIG/NUMBER is the run of a trial, WORKDIR/sweep.json has what came of
all. At the end there is a table, and for each config the command that trains
its best settings: give it seeds, and evaluate those. --list prints all commands
and runs none. --set changes a key in every trial, such as train.steps for a
first look.
"""

import pathlib
import shlex
import sys
from typing import Any

from genrec_jax.cli.command import Command
from genrec_jax.cli.config_flag import ConfigFlag
from genrec_jax.cli.ending import USAGE, UsageError
from genrec_jax.cli.run import status_of
from genrec_jax.core.build import to_plain
from genrec_jax.experiment import sweep
from genrec_jax.report.sweep_table import sweep_table

COMMAND = Command(__doc__)
_CONFIGS = COMMAND.list("configs", None, "Names or files, of one data set.")
_WORKDIR = COMMAND.string("workdir", None, "Folder of the trials.")
_TRIALS = COMMAND.integer("trials", 6, "Of each config.", lower_bound=1)
_SPACE = COMMAND.multi_string(
  "space",
  [
    "optimizer.learning_rate=0.0003..0.003",
    "optimizer.weight_decay=0,0.01,0.1",
    "system.dropout=0,0.1,0.2",
  ],
  "KEY=VALUE,VALUE,... or KEY=LOW..HIGH (by the logarithm); may be repeated.",
)
_SET = COMMAND.multi_string(
  "set", [], "KEY=VALUE of every trial; may be repeated."
)
_SEED = COMMAND.integer("seed", 0, "Of what is drawn; trainings have config's.")
_LIST = COMMAND.bool("list", False, "Print the commands, and run none.")
COMMAND.require("configs", "workdir")

# Not from the folder that we are in: it may hold modules of any name.
_GENREC = (sys.executable, "-P", "-m", "genrec_jax.cli")
_SIGNALLED = 128


def _words(config: str, changes: dict[str, str]) -> tuple[list[str], Any]:
  """Flags of a config with changes, and the config as they make it.

  Raises:
    UsageError: a key that it does not have, or a value that cannot be there.
  """
  flag = ConfigFlag("")
  pairs = [*(text.split("=", 1) for text in _SET.value), *changes.items()]
  if wrong := [p for p in pairs if len(p) < 2]:
    raise UsageError(f"--set={wrong[0][0]}: write KEY=VALUE.")
  written = [f"--config.{key}={value}" for key, value in pairs]
  flag.take([f"--config={config}", *written])
  flag.load()
  return flag.words, to_plain(flag.value)


def _trials() -> dict[str, list[tuple[dict[str, str], list[str]]]]:
  """Changes and flags of every trial, by the name of the config.

  Raises:
    UsageError: configs, keys or values that cannot be.
  """
  space = [sweep.Option.of(text) for text in _SPACE.value]
  drawn = sweep.draws(space, _TRIALS.value, _SEED.value)
  found, plain = {}, {}
  for config in _CONFIGS.value:
    name = _words(config, {})[1]["name"]
    if name in found:
      raise UsageError(f"--configs names {name} twice.")
    made = [(changes, *_words(config, changes)) for changes in drawn]
    found[name] = [(changes, words) for changes, words, _ in made]
    plain[name] = made[0][2]
  sweep.check_alike(plain)
  return found


def _check_same(
  record: sweep.Record, trials: Any, folder: pathlib.Path
) -> None:
  """Raises a UsageError where a trial was another one: its run is there."""
  for name, mine in trials.items():
    for number, (_, words) in enumerate(mine):
      done = record.get(name, {}).get(str(number))
      if done is not None and done["flags"] != words:
        raise UsageError(
          f"{folder} has trial {number} of {name} with other flags"
          f" ({shlex.join(done['flags'])}, and not {shlex.join(words)}): name"
          " another --workdir, or give what was given."
        )


def _command(words: list[str], folder: pathlib.Path, number: int) -> list[str]:
  """Of a trial; those after the first read the data that it has prepared."""
  first = folder / "0" / "data"
  prepared = [f"--config.prepared={first}"] if number else []
  if any(word.startswith("--config.prepared=") for word in words):
    prepared = []
  workdir = f"--workdir={folder / str(number)}"
  return ["run", *words, *prepared, workdir, "--stop_after=training"]


def _print_best(record: sweep.Record, trials: Any) -> None:
  """The table, and how to train the best settings."""
  print(sweep_table(record))
  for name, mine in trials.items():
    number = sweep.chosen(record.get(name, {}))
    if number is not None and int(number) < len(mine):
      flags = shlex.join(mine[int(number)][1])
      print(f"genrec run {flags} --config.seed=SEED --workdir=RUN")


@COMMAND.does
def main() -> int:
  """Trains what is not finished, and prints what is best."""
  try:
    trials = _trials()
  except ValueError as error:
    raise UsageError(str(error)) from error
  folder = pathlib.Path(_WORKDIR.value).absolute()
  record = sweep.read_record(folder)
  _check_same(record, trials, folder)
  for number in range(_TRIALS.value):
    for name, mine in trials.items():
      changes, words = mine[number]
      command = _command(words, folder / name, number)
      if _LIST.value:
        print(f"genrec {shlex.join(command)}")
        continue
      if str(number) in record.setdefault(name, {}):
        continue
      print(f"== {name}, trial {number}", flush=True)
      status = status_of([*_GENREC, *command])
      if status == USAGE or status > _SIGNALLED:
        return status
      record[name][str(number)] = {"changes": changes, "flags": words} | (
        {"failed": status} if status else _result(folder / name, number, words)
      )
      sweep.write_record(folder, record)
  if not _LIST.value:
    _print_best(record, trials)
  return 0


def _result(folder: pathlib.Path, number: int, words: list[str]) -> dict:
  flag = ConfigFlag("")
  flag.take(words)
  flag.load()
  return sweep.result_of(folder / str(number), flag.value.train.monitor)
