# SPDX-License-Identifier: Apache-2.0
"""The document of a run: what it is, and a section of each evaluator.

    {"format": 2, "config": ..., "seed": ..., ...,
     "sections": {NAME: {"evaluator": "evaluation.NextItem", ...}}}

It is WORKDIR/evaluation.json and, for the tables of the docs, also
results/<config>/<seed>.json. NAME is the evaluator's key in config.evals; what
a section holds says the file of its evaluator.
"""

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
import tempfile
from typing import Any

from genrec_jax.core import atomic, sealed
from genrec_jax.core.dotted import differences, flat
from genrec_jax.core.suggest import choices_hint
from genrec_jax.evaluation.description import description
from genrec_jax.evaluation.ranks import check_same_data
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded

FORMAT = 2


def chosen(run: Run, only: Sequence[str] = ()) -> dict[str, Any]:
  """The run's evaluators, or those named, checked.

  Raises:
    ValueError: an unknown name, none at all, or one that the run's model cannot
      answer.
  """
  for name in only:
    if name not in run.evals:
      raise ValueError(
        f"config.evals has no {name!r}.{choices_hint(name, run.evals)}"
      )
  found = {n: e for n, e in run.evals.items() if not only or n in only}
  if not found:
    raise ValueError("config.evals is empty: there is nothing to measure.")
  for evaluator in found.values():
    evaluator.check(run)
  return found


def measure(
  run: Run,
  loaded: Loaded,
  evaluators: Mapping[str, Any],
  *,
  baselines: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """The document of a run, and what its evaluators keep: {file: kept}.

  Args:
    run: what was trained.
    loaded: the parameters that are measured.
    evaluators: those of `chosen`.
    baselines: whether baselines are measured beside it.
  """
  sections, kept = {}, {}
  for name, evaluator in evaluators.items():
    section, arrays = evaluator.measure(run, loaded, baselines=baselines)
    sections[name] = {"evaluator": run.config["evals"][name]["name"], **section}
    if arrays is not None:
      kept[evaluator.file] = arrays
  return {
    "format": FORMAT,
    **description(run, loaded),
    "sections": sections,
  }, kept


def of_section(document: Mapping[str, Any], name: str) -> dict[str, Any]:
  """A section together with the description of its run."""
  about = {k: v for k, v in document.items() if k != "sections"}
  return {**about, **document["sections"][name]}


def text(document: Mapping[str, Any], evaluators: Mapping[str, Any]) -> str:
  """The document as lines for a terminal."""
  lines = [
    f"{document['config']}, seed {document['seed']}, on {document['dataset']}:"
    f" {document['num_users']:,} users, {document['num_items']:,} items,"
    f" {document['split_rule']}",
  ]
  for name, evaluator in evaluators.items():
    lines.append(evaluator.text(of_section(document, name)))
  return "\n".join(lines)


def check_comparable(
  run: Run, other: pathlib.Path, evaluators: Mapping[str, Any]
) -> None:
  """Raises a ValueError where another workdir cannot be paired with a run."""
  there = read(other)
  check_same_data(run.histories.manifest.fingerprint, there["fingerprint"])
  if not _paired(other, evaluators):
    raise ValueError(
      f"{other} keeps nothing that this run could be paired with: it was"
      f" measured as {', '.join(there['sections'])}."
    )


def compared(
  workdir: pathlib.Path, other: pathlib.Path, evaluators: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
  """Paired differences to another workdir, by evaluator that both have kept."""
  there = read(other)
  return {
    name: {
      "workdir": str(other),
      "config": there["config"],
      "seed": there["seed"],
      "differences": evaluators[name].differences(workdir, other),
    }
    for name in _paired(other, evaluators)
  }


def _paired(other: pathlib.Path, evaluators: Mapping[str, Any]) -> list[str]:
  return [
    name
    for name, evaluator in evaluators.items()
    if evaluator.file and (other / evaluator.file).is_file()
  ]


def read(workdir: pathlib.Path) -> dict[str, Any]:
  """The document of an evaluated workdir.

  Raises:
    ValueError: it is not evaluated, or by another version.
  """
  path = workdir / "evaluation.json"
  if not path.is_file():
    raise ValueError(
      f"there is no {path}: run genrec evaluate --workdir={workdir}"
    )
  fix = f"Run genrec evaluate --workdir={workdir} again."
  document = sealed.read_json(path, fix)
  if document.get("format") != FORMAT:
    raise ValueError(
      f"{path} has format {document.get('format', 1)}, and this version reads"
      f" {FORMAT}. {fix}"
    )
  return sealed.unseal(document, path, fix)


def check_writable(folder: pathlib.Path) -> None:
  """Raises a ValueError where no file can be made in a folder."""
  try:
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise ValueError(
      f"{folder} cannot be written ({error.strerror}), and the evaluation"
      f" writes its files there. Copy it (cp -r {folder} COPY) and name the"
      " copy, or mount it writable"
    ) from error


def write_json(path: pathlib.Path, document: Mapping[str, Any]) -> None:
  """Writes a document with its checksum, whole or not at all.

  NaN is an error.
  """
  values = sealed.seal(document)
  text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write_text(path, text + "\n")


def result_path(folder: str | os.PathLike, config: Mapping) -> pathlib.Path:
  """results/<config>/<seed>.json of a run's config."""
  return pathlib.Path(folder) / config["name"] / f"{config['seed']}.json"


def check_publishable(
  run: Run, folder: str | os.PathLike, *, finished: str, baselines: bool
) -> None:
  """Raises a ValueError where a run is no result for `folder`.

  Args:
    run: what would be measured.
    folder: of finished runs.
    finished: why the run needs no more training; "" where it does.
    baselines: whether baselines are measured beside it.
  """
  name, path = run.config["name"], result_path(folder, run.config)
  if name.endswith("-quicktest"):
    raise ValueError(
      f"{name} is the quick form of a config, and no result: leave --results"
      " out, or train the config without its variant quicktest"
    )
  if not baselines:
    raise ValueError(
      "a result needs its baselines: leave --nobaselines out, or --results"
    )
  if not finished:
    raise ValueError(
      f"the training in {run.workdir} has not finished, so this is no result"
      " yet: start the same genrec train command again, or leave --results"
      " out"
    )
  if path.is_file():
    _check_replaces(path, run)


def _check_replaces(path: pathlib.Path, run: Run) -> None:
  """Raises where the result at `path` is of other data or another config."""
  there = sealed.read_sealed(path, "Bring it back, or delete it.")
  # JSON has no tuples: compare what would be read back.
  values = json.loads(json.dumps(run.config))
  old = {"fingerprint": there["fingerprint"], **flat(there["config_values"])}
  new = {"fingerprint": run.histories.manifest.fingerprint, **flat(values)}
  lines = [
    f"  {key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now"
    for key in differences(old, new)
    if key != "title"
  ]
  if lines:
    raise ValueError(
      f"{path} is the result of another run:\n"
      + "\n".join(lines)
      + "\nGive this one another config name or seed, another --results, or"
      " delete that file first."
    )
