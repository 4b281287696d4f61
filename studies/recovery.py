# SPDX-License-Identifier: Apache-2.0
"""Breaks trainings and workdirs, and counts what becomes of them.

    python studies/recovery.py --folder=/tmp/recovery --kills=30 --flips=50

kills   a training of a small model is ended by SIGKILL at a random moment of
        its time, saves included, and started again
flips   one bit of one file of a trained and evaluated workdir is flipped, any
        file as likely as another; then the training goes on for some steps and
        is evaluated

What comes out must be what an unbroken run gives, bit by bit: the newest
checkpoint with its place in the data and its bookkeeping (but for seconds), and
all ranks of the evaluation. Or it must be refused by an error of a line or two
that names the file. Where the best parameters are what is damaged, nobody can
have them back: then the file must be named, the training must be that of the
unbroken run, and which checkpoint is the best one now must be said. Anything
else is a fault, and the exit status 1. Every command is a fork of this process,
which touches no device.
"""

from collections.abc import Callable
import os
import pathlib
import shutil
import signal
import sys
import time
from typing import Any

from absl import app, flags, logging
import jax
import numpy as np

from configs import hstu_movielens
from genrec_jax.cli.ending import ended
from genrec_jax.core.artifact import content_hash
from genrec_jax.evaluation import document as documents
from genrec_jax.evaluation.ranks import Ranks
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.experiment.training import alone, train
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.termination import Termination

_FOLDER = flags.DEFINE_string("folder", None, "A new folder to work in.")
_KILLS = flags.DEFINE_integer("kills", 30, "Trainings that are killed.")
_FLIPS = flags.DEFINE_integer("flips", 50, "Bits that are flipped.")
_SEED = flags.DEFINE_integer("seed", 0, "Of moments, files and bits.")
flags.mark_flag_as_required("folder")

_STEPS, _MORE = 12, 4
_SAME, _RECOVERED, _REFUSED = "the same", "recovered, and said so", "refused"
_ANOTHER_BEST = "the same training, and another best one, which is said"


def config(steps: int) -> Any:
  """A small training that saves at every second step."""
  found = hstu_movielens.get_config("quicktest")
  found.data.update(num_users=60, num_items=50)
  found.system.width = 8
  found.system.backbone.num_layers = 1
  found.train.update(
    steps=steps,
    log_every_steps=1,
    eval_every_steps=4,
    checkpoint_every_steps=2,
    eval_users=20,
  )
  return found


def trained(workdir: pathlib.Path, steps: int) -> int:
  """Trains or resumes, as the command does."""
  termination = Termination().install()
  with alone(workdir) as check:
    train(Run.start(config(steps), workdir), termination, check)
  return 0


def used(workdir: pathlib.Path) -> int:
  """Reads an evaluation, goes on with the training and evaluates again."""
  documents.read(workdir)
  Ranks.load(workdir / "ranks.npz")
  trained(workdir, _STEPS + _MORE)
  return evaluated(workdir)


def evaluated(workdir: pathlib.Path) -> int:
  """Evaluates a workdir, as the command does."""
  run = Run.open(workdir)
  document, kept = documents.measure(
    run, load_params(run), documents.chosen(run)
  )
  for file, arrays in kept.items():
    arrays.save(workdir / file)
  documents.write_json(workdir / "evaluation.json", document)
  return 0


def fingerprint(workdir: pathlib.Path) -> str:
  """Names what a training has left, and behind a space all else."""
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    found = checkpoints.contents()
  found["progress"].pop("seconds")
  parts = [jax.tree.leaves(found[name]) for name in ("params", "optimizer")]
  parts = [np.asarray(x) for x in sum(parts, [])]
  names = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(found)]
  training = content_hash(names, found["data"], *parts)
  ranks = workdir / "ranks.npz"
  if ranks.is_file():
    columns = Ranks.load(ranks).columns
    names += sorted(columns)
    parts += [columns[name] for name in sorted(columns)]
  return f"{training} {content_hash(names, found['progress'], *parts)}"


def forked(work: Callable[[], int], output: pathlib.Path) -> int:
  """Starts work in a fork that writes to a file; its process id."""
  pid = os.fork()
  if pid:
    return pid
  code = 1
  try:
    file = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = ended(work)
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def done(work: Callable[[], int], output: pathlib.Path) -> tuple[int, str]:
  """Exit status and output of work in a fork."""
  _, status = os.waitpid(forked(work, output), 0)
  return os.waitstatus_to_exitcode(status), output.read_text(errors="replace")


def named(workdir: pathlib.Path) -> str:
  """`fingerprint` in a fork.

  Raises:
    ValueError: the workdir cannot be read.
  """
  place = workdir.with_name(f"{workdir.name}.name")

  def work():
    place.write_text(fingerprint(workdir))
    return 0

  code, said = done(work, workdir.with_name(f"{workdir.name}.txt"))
  if code:
    raise ValueError(said)
  return place.read_text()


def kill(
  start: pathlib.Path, workdir: pathlib.Path, seconds: float, expected: str
) -> tuple[str, str]:
  """Kills a training after some seconds and resumes it: outcome, output."""
  shutil.copytree(start, workdir)
  output = workdir.with_name(f"{workdir.name}.txt")
  pid = forked(lambda: trained(workdir, _STEPS), output)
  time.sleep(seconds)
  os.kill(pid, signal.SIGKILL)
  os.waitpid(pid, 0)
  left = sorted(p.name for p in (workdir / "checkpoints").glob("*"))
  code, said = done(lambda: trained(workdir, _STEPS), output)
  if code:
    return f"FAULT: exit {code}", said
  if named(workdir) != expected:
    return "FAULT: another result", said
  saves = any("tmp" in name for name in left)
  return _SAME + (", killed in a save" if saves else ""), said


def flip(
  intact: pathlib.Path,
  workdir: pathlib.Path,
  rng: np.random.Generator,
  expected: str,
) -> tuple[pathlib.Path, str, str]:
  """Flips a bit and goes on: which file, the outcome, the output."""
  shutil.copytree(intact, workdir)
  files = sorted(p for p in workdir.rglob("*") if p.stat().st_size)
  path = rng.choice([p for p in files if p.is_file()])
  data = bytearray(path.read_bytes())
  data[rng.integers(len(data))] ^= 1 << rng.integers(8)
  path.write_bytes(data)
  output = workdir.with_name(f"{workdir.name}.txt")
  code, said = done(lambda: used(workdir), output)
  path = path.relative_to(workdir)
  if code == 0:
    result = named(workdir)
    if result == expected:
      return path, _RECOVERED if "damaged" in said else _SAME, said
    mended = path.parts[0] == "best" and str(path) in said
    if (
      mended
      and "and kept as the best" in said
      and result.split()[0] == expected.split()[0]
    ):
      return path, _ANOTHER_BEST, said
    return path, "FAULT: another result", said
  error = said[said.rfind("error: ") :]
  if path.name not in error or "fault of the library" in error:
    return path, "FAULT: refused without naming the file", said
  if error.count("\n") > 3:
    return path, "FAULT: refused at length", said
  return path, _REFUSED, said


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  folder = pathlib.Path(_FOLDER.value).absolute()
  folder.mkdir(parents=True)
  if jax.config.jax_compilation_cache_dir is None:
    # Every fork compiles the same few programs.
    cache = str(folder / "compiled")
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  rng = np.random.default_rng(_SEED.value)
  outcomes: dict[str, int] = {}

  def count(kind: str, outcome: str, said: str) -> None:
    key = f"{kind}: {outcome}"
    outcomes[key] = outcomes.get(key, 0) + 1
    print(key, flush=True)
    if "FAULT" in outcome:
      print(said[-2000:], flush=True)

  straight, seconds = folder / "straight", 0.0
  # The second time, nothing is compiled any more.
  for _ in range(2):
    shutil.rmtree(straight, ignore_errors=True)
    begun = time.monotonic()
    work = lambda: trained(straight, _STEPS)  # noqa: E731
    code, said = done(work, folder / "straight.txt")
    seconds = time.monotonic() - begun
    if code:
      raise SystemExit(said)
  start = folder / "start"
  start.mkdir()
  shutil.copytree(straight / "data", start / "data")
  expected = named(straight)
  for number in range(_KILLS.value):
    workdir = folder / f"kill-{number}"
    after = float(rng.uniform(0, seconds))
    outcome, said = kill(start, workdir, after, expected)
    count("kill", outcome, said)
    shutil.rmtree(workdir)
  if _FLIPS.value:
    whole = shutil.copytree(straight, folder / "whole")
    for work in (lambda: evaluated(straight), lambda: evaluated(whole)):
      code, said = done(work, folder / "whole.txt")
      if code:
        raise SystemExit(said)
    code, said = done(lambda: used(whole), folder / "whole.txt")
    if code:
      raise SystemExit(said)
    expected = named(whole)
  for number in range(_FLIPS.value):
    workdir = folder / f"flip-{number}"
    path, outcome, said = flip(straight, workdir, rng, expected)
    count("flip", f"{outcome}", f"{path}\n{said}")
    print(f"  {path}", flush=True)
    shutil.rmtree(workdir)
  for key, number in sorted(outcomes.items()):
    print(f"{number:4} {key}")
  if any("FAULT" in key for key in outcomes):
    raise SystemExit(1)


if __name__ == "__main__":
  app.run(main)
