# SPDX-License-Identifier: Apache-2.0
"""The stages of a config, by name and in order: what `genrec run` does.

    data        genrec prepare     WORKDIR/data
    vectors     genrec tokenize    WORKDIR/vectors    (with config.content)
    text_tokens genrec tokenize    WORKDIR/text_tokens
                                   (with config.text_tokens)
    before      genrec train       WORKDIR/<name>     each of config.before
    tokens      genrec tokenize    WORKDIR/tokens     (with config.tokens)
    base        genrec train       WORKDIR/<name>     each of config.before that
                                                      reads item tokens
    user_vectors genrec users      WORKDIR/user_vectors
                                   (with config.user_vectors)
    training    genrec train       WORKDIR            (with config.system)
    evaluation  genrec evaluate    WORKDIR/evaluation.json
    report      genrec report      WORKDIR/report.html

`STAGES` registers them: a further stage is one entry there. Stages meet through
what they leave on disk, and each skips what is up to date.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib
import pathlib
from typing import Any

from genrec_jax.core import sealed
from genrec_jax.core.build import to_plain
from genrec_jax.core.dotted import flat
from genrec_jax.experiment.artifacts import KINDS
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import read_progress
from genrec_jax.semantic_ids.stages import of_run_before


@dataclasses.dataclass(frozen=True)
class StageJob:
  """What the stages of one run have in common.

  Attributes:
    config: plain nested dict.
    flags: that say which config, as the user wrote them.
    workdir: where everything goes.
  """

  config: Mapping[str, Any]
  flags: Sequence[str]
  workdir: pathlib.Path

  @property
  def common(self) -> tuple[str, ...]:
    """Arguments of a command that is given the config."""
    return (*self.flags, *self.place)

  @property
  def place(self) -> tuple[str, ...]:
    """Arguments of a command that finds the config in the workdir."""
    return (f"--workdir={self.workdir}",)


Commands = Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Stage:
  """One stage.

  Attributes:
    name: as --stop_after has it.
    needed: whether a config has this stage.
    commands: command and arguments, one after the other.
    done: whether it is up to date; commands that find that out themselves say
      False.
  """

  name: str
  needed: Callable[[Mapping[str, Any]], bool]
  commands: Callable[[StageJob], Commands]
  done: Callable[[StageJob], bool] = lambda job: False


def _has(section: str) -> Callable[[Mapping[str, Any]], bool]:
  return lambda config: bool(config.get(section))


def _reads_tokens(file: str) -> bool:
  """Whether a run before is one of item tokens, which are made first."""
  return "tokens" in _config_of(file)


def _before(job: StageJob, with_tokens: bool = False) -> Commands:
  """Trains what the config builds on, on the same data, vectors, words, tokens.

  In the order of the names: a config does not keep another one.
  """
  config = job.config
  data = config["prepared"] or str(job.workdir / "data")
  vectors = config.get("content", {}).get("directory")
  words = config.get("text_tokens", {}).get("directory")
  words = words or job.workdir / "text_tokens"
  tokens = config.get("tokens", {}).get("directory") or job.workdir / "tokens"
  return [
    (
      "train",
      f"--config={_root() / file}",
      *_data_flags(config, file),
      f"--workdir={job.workdir / name}",
      f"--config.prepared={data}",
      *(
        [f"--config.content.directory={vectors or job.workdir / 'vectors'}"]
        if "content" in _config_of(file)
        else []
      ),
      *(
        [f"--config.text_tokens.directory={words}"]
        if "text_tokens" in _config_of(file)
        else []
      ),
      *([f"--config.tokens.directory={tokens}"] if with_tokens else []),
      *_on_what_came_before(job, name, file),
    )
    for name, file in sorted(config["before"].items())
    if _reads_tokens(file) == with_tokens
  ]


def _has_before(with_tokens: bool) -> Callable[[Mapping[str, Any]], bool]:
  def has(config):
    files = (config.get("before") or {}).values()
    return any(_reads_tokens(file) == with_tokens for file in files)

  return has


def _on_what_came_before(job: StageJob, name: str, file: str) -> list[str]:
  """Flags for what a run before takes from the one ahead of it."""
  names = sorted(job.config["before"])
  ahead = {n: job.config["before"][n] for n in names[: names.index(name)]}
  if not ahead:
    return []
  there = _config_of(file)
  flags = _open_sources({**there, "before": ahead}, job.workdir)
  if there.get("collaborative", {}).get("workdir") == "":
    folder = job.workdir / sorted(ahead)[-1]
    flags.append(f"--config.collaborative.workdir={folder}")
  return flags


def _config_of(file: str) -> dict[str, Any]:
  """The config of "configs/NAME.py:VARIANTS", before any flag."""
  path, _, variants = file.partition(":")
  module = importlib.import_module(f"configs.{pathlib.Path(path).stem}")
  return to_plain(module.get_config(variants))


def _training(job: StageJob) -> Commands:
  """Trains, from parameters of the run before where the config says so."""
  return [("train", *job.common, *_open_sources(job.config, job.workdir))]


def _open_sources(
  config: Mapping[str, Any], workdir: pathlib.Path
) -> list[str]:
  """A flag for pretrained parameters whose path the config leaves open."""
  sources = config.get("train", {}).get("pretrained") or {}
  if all(source.get("path") != "" for source in sources.values()):
    return []
  filled = {
    part: of_run_before(
      source, f"train.pretrained[{part!r}]", config, workdir, "path"
    )
    for part, source in sources.items()
  }
  return [f"--config.train.pretrained={filled!r}"]


def _root() -> pathlib.Path:
  return pathlib.Path(__file__).resolve().parents[2]


def _data_flags(config: Mapping[str, Any], file: str) -> list[str]:
  """Flags that give a config file's config the data of another config."""
  there = _config_of(file)
  return [
    f"--config.{section}.{key}={value}"
    for section in ("data", "split", "filter")
    for key, value in flat(config[section]).items()
    if flat(there[section]).get(key) != value
  ]


def _is_evaluated(job: StageJob) -> bool:
  """Whether the evaluation is of what would be evaluated now."""
  try:
    there = sealed.read_sealed(job.workdir / "evaluation.json", "")
  except (OSError, ValueError):
    return False
  run = Run.open(job.workdir)
  try:
    # An evaluator may have read what the run itself does not.
    for kind in KINDS.keys() & there.get("artifacts", {}).keys():
      run.artifacts.open(kind)
  except ValueError:
    return False
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


STAGES: tuple[Stage, ...] = (
  Stage(
    "data",
    lambda config: not config["prepared"],
    lambda job: [("prepare", *job.common)],
  ),
  Stage(
    "vectors",
    _has("content"),
    lambda job: [("tokenize", *job.common, "--stop_after=vectors")],
  ),
  Stage(
    "text_tokens",
    _has("text_tokens"),
    lambda job: [("tokenize", *job.common, "--stop_after=text_tokens")],
  ),
  Stage("before", _has_before(with_tokens=False), _before),
  Stage(
    "tokens",
    _has("tokens"),
    lambda job: [("tokenize", *job.common)],
  ),
  Stage(
    "base",
    _has_before(with_tokens=True),
    lambda job: _before(job, with_tokens=True),
  ),
  Stage(
    "user_vectors",
    _has("user_vectors"),
    lambda job: [("users", *job.common)],
  ),
  Stage("training", _has("system"), _training),
  Stage(
    "evaluation",
    _has("evals"),
    lambda job: [("evaluate", *job.place)],
    _is_evaluated,
  ),
  Stage("report", _has("evals"), lambda job: [("report", *job.place)]),
)
