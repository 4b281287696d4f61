# SPDX-License-Identifier: Apache-2.0
"""The trainings of the retail study: what they are, and each of them run.

    test      october   October to December 2011, the season of gifts
              june      June and July of that year
    arm       ways to read times, variants of configs/commerce_retail.py

An arm of a seed is trained and measured by what genrec train and genrec
evaluate call, and its result is what they write: RESULTS/<config>/<seed>.json.
So a run that was trained by hand counts, its figures can stand in docs/
(genrec report --results=RESULTS), and its workdir can be asked and compared. An
arm that has a result is not run again.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import pathlib
import sys
from typing import Any

from tqdm import tqdm

from configs import commerce_retail
from genrec_jax.core.build import build, to_plain
from genrec_jax.core.dotted import differences, flat
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.evaluation import document as documents
from genrec_jax.experiment.restored import load_params
from genrec_jax.report.runs import read_result
from genrec_jax.train.termination import Termination
from studies.trained_arm import trained_arm

TESTS = ("october", "june")
ARMS = ("no_time", "bias", "calendar", "bias-calendar")
# What may differ between machines, and changes nothing.
_FREE = ("data.path", "prepared", "title")


@dataclasses.dataclass(frozen=True)
class Arm:
  """One training."""

  test: str
  arm: str
  seed: int


@dataclasses.dataclass(frozen=True)
class Options:
  """How all arms are trained.

  Attributes:
    path: folder of the invoices.
    steps: of training; None = the config's.
    quick: the config's quick form, on simulated data, in three steps.
  """

  path: str = ""
  steps: int | None = None
  quick: bool = False


def arms(tests: Sequence[str], seeds: int) -> list[Arm]:
  """All of the study, seed by seed, so that one seed of everything comes first.

  Raises:
    ValueError: no seed, or a test that there is not.
  """
  if seeds < 1:
    raise ValueError(f"--seeds={seeds}: a study needs one or more.")
  for test in tests:
    if test not in TESTS:
      hint = choices_hint(test, TESTS)
      raise ValueError(f"--tests names {test!r}, which there is not.{hint}")
  return [Arm(t, a, s) for s in range(seeds) for t in tests for a in ARMS]


def config_of(arm: Arm, options: Options) -> dict[str, Any]:
  """The config of an arm, as JSON has it."""
  variants = [arm.arm]
  variants += ["june"] if arm.test == "june" else []
  variants += ["quicktest"] if options.quick else []
  c = commerce_retail.get_config("-".join(variants))
  c.seed = arm.seed
  if not options.quick:
    c.data.path = options.path
  if options.steps is not None:
    c.train.steps = options.steps
  return json.loads(json.dumps(to_plain(c)))


def measured(
  arm: Arm, results: pathlib.Path, options: Options
) -> dict[str, Any] | None:
  """The result of an arm; None of one that has none.

  Raises:
    ValueError: it is of another config (names what differs).
  """
  config = config_of(arm, options)
  path = documents.result_path(results, config)
  if not path.is_file():
    return None
  document = read_result(path)
  old, new = flat(document["config_values"]), flat(config)
  wrong = [key for key in differences(old, new) if key not in _FREE]
  if wrong:
    raise ValueError(
      f"{path} is of another config ("
      + ", ".join(f"{k}: {old.get(k)!r}, not {new.get(k)!r}" for k in wrong)
      + "): give another --results, the --steps that it has, or delete it."
    )
  return document


def results_of(
  wanted: Sequence[Arm], results: pathlib.Path, options: Options
) -> dict[Arm, dict[str, Any] | None]:
  """What there is of the arms; see `measured`."""
  return {arm: measured(arm, results, options) for arm in wanted}


def run_missing(
  found: dict[Arm, dict[str, Any] | None],
  workdir: pathlib.Path,
  results: pathlib.Path,
  options: Options,
  termination: Termination,
  after: Callable[[Mapping[Arm, Any]], None],
) -> None:
  """Runs the arms that have no result, in order, with a bar.

  Args:
    found: results by arm, which it fills.
    workdir: of data and runs.
    results: of results.
    options: of all arms.
    termination: says when to save and stop.
    after: is given what is found after each.

  Raises:
    Stopped: a signal came.
    ValueError: what training raises.
  """
  with tqdm(total=len(found), unit="arm", file=sys.stderr) as bar:
    for arm in found:
      bar.set_description(f"{arm.test} {arm.arm} {arm.seed}")
      if found[arm] is None:
        found[arm] = run(arm, workdir, results, options, termination)
        after(found)
      bar.update()


def run(
  arm: Arm,
  workdir: pathlib.Path,
  results: pathlib.Path,
  options: Options,
  termination: Termination,
) -> dict[str, Any]:
  """Trains an arm, or goes on with it, measures it and keeps what it says.

  Raises:
    Stopped: a signal came in between.
    ValueError: somebody else trains it, or what training raises.
  """
  config = config_of(arm, options)
  # Those of a test have one data set.
  data = workdir / "data" / arm.test
  parts = build(config["data"]), build(config["split"])
  prepare(*parts, data, **config["filter"])
  config["prepared"] = str(data)
  folder = workdir / "runs" / config["name"] / str(arm.seed)
  folder.mkdir(parents=True, exist_ok=True)
  trained = trained_arm(config, folder, termination)
  evaluators = documents.chosen(trained)
  found, kept = documents.measure(trained, load_params(trained), evaluators)
  for file, arrays in kept.items():
    arrays.save(folder / file)
  documents.write_json(folder / "evaluation.json", found)
  path = documents.result_path(results, config)
  documents.write_json(path, found)
  return read_result(path)
