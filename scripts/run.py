# SPDX-License-Identifier: Apache-2.0
"""Does all that a config needs, in order, and skips what is up to date.

    python scripts/run.py --config=configs/tiger_amazon.py --workdir=runs/a \
        --config.data.path=amazon2014

    data        prepare_data.py      WORKDIR/data
    vectors     tokenize_items.py    WORKDIR/vectors    (with config.content)
    before      train.py             WORKDIR/<name>     each of config.before
    tokens      tokenize_items.py    WORKDIR/tokens     (with config.tokens)
    training    train.py             WORKDIR            (with config.system)
    evaluation  evaluate.py          WORKDIR/evaluation.json
    report      report.py            WORKDIR/report.html

Each stage is the script of that name, with the same flags; --stop_after ends
early. A stage that was interrupted goes on where it stopped.
"""

import importlib
import json
import pathlib
import subprocess
import sys
import time

from absl import app, flags, logging
from ml_collections import config_flags

from genrec_jax.core.build import to_plain
from genrec_jax.core.dotted import flat
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import read_progress

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to run.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where everything goes.")
STAGES = (
  "data",
  "vectors",
  "before",
  "tokens",
  "training",
  "evaluation",
  "report",
)
_STOP_AFTER = flags.DEFINE_enum(
  "stop_after", STAGES[-1], list(STAGES), "The last stage to do."
)
flags.mark_flags_as_required(["config", "workdir"])

_SCRIPTS = pathlib.Path(__file__).resolve().parent


def _do(script: str, *arguments: str) -> None:
  """Runs a script; its output and its exit status become ours."""
  command = [sys.executable, str(_SCRIPTS / script), *arguments]
  done = subprocess.run(command)
  if done.returncode:
    sys.exit(done.returncode)


def _config_flags() -> list[str]:
  """Flags that say which config, however they were written."""
  holder = flags.FLAGS["config"]
  changes = config_flags.get_override_values(holder)
  return [
    f"--config={config_flags.get_config_filename(holder)}",
    *(f"--config.{name}={value}" for name, value in changes.items()),
  ]


def _is_evaluated(workdir: pathlib.Path) -> bool:
  """Whether the evaluation is of what would be evaluated now."""
  try:
    text = (workdir / "evaluation.json").read_text(encoding="utf-8")
    there = json.loads(text)
  except (OSError, ValueError):
    return False
  run = Run.open(workdir)
  now = {
    "step": read_progress(run)["best_step"],
    "fingerprint": run.histories.manifest.fingerprint,
    "artifacts": run.artifacts.versions,
  }
  values = there.get("config_values", {})
  return all(there.get(key) == value for key, value in now.items()) and all(
    values.get(section) == run.config[section]
    for section in ("evals", "requests", "retrieval")
  )


def _data_flags(config: dict, file: str) -> list[str]:
  """Flags that give a config file's config the data of another config."""
  path, _, words = file.partition(":")
  module = importlib.import_module(f"configs.{pathlib.Path(path).stem}")
  there = to_plain(module.get_config(words))
  return [
    f"--config.{section}.{key}={value}"
    for section in ("data", "split", "filter")
    for key, value in flat(config[section]).items()
    if flat(there[section]).get(key) != value
  ]


def _before(
  config: dict, workdir: pathlib.Path, data: str, vectors: str
) -> None:
  """Trains what the config builds on, on the same data and vectors."""
  for name, file in config["before"].items():
    _do(
      "train.py",
      f"--config={_SCRIPTS.parent / file}",
      *_data_flags(config, file),
      f"--workdir={workdir / name}",
      f"--config.prepared={data}",
      f"--config.content.directory={vectors}",
    )


def run() -> None:
  """Does the stages in order."""
  config, workdir = to_plain(_CONFIG.value), pathlib.Path(_WORKDIR.value)
  common = [*_config_flags(), f"--workdir={workdir}"]
  before = config.get("before", {})
  data = config["prepared"] or str(workdir / "data")
  vectors = str(workdir / "vectors")
  if config.get("content", {}).get("directory"):
    vectors = config["content"]["directory"]
  stages = {
    "data": lambda: _do("prepare_data.py", *common),
    "vectors": lambda: _do(
      "tokenize_items.py", *common, "--stop_after=vectors"
    ),
    "before": lambda: _before(config, workdir, data, vectors),
    "tokens": lambda: _do("tokenize_items.py", *common),
    "training": lambda: _do("train.py", *common),
    "evaluation": lambda: _do("evaluate.py", f"--workdir={workdir}"),
    "report": lambda: _do("report.py", f"--workdir={workdir}"),
  }
  needed = {
    "data": not config["prepared"],
    "vectors": bool(config.get("content")),
    "before": bool(before),
    "tokens": bool(config.get("tokens")),
    "training": "system" in config,
    "evaluation": bool(config.get("evals")),
    "report": bool(config.get("evals")),
  }
  for stage in STAGES[: STAGES.index(_STOP_AFTER.value) + 1]:
    if not needed[stage]:
      continue
    started = time.perf_counter()
    print(f"== {stage}", flush=True)
    if stage == "evaluation" and _is_evaluated(workdir):
      print("up to date")
    else:
      stages[stage]()
    print(f"== {stage}: {time.perf_counter() - started:.0f} s", flush=True)


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  try:
    run()
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
