# SPDX-License-Identifier: Apache-2.0
"""Measures a trained run in every way that its config.evals names.

    genrec evaluate --workdir=runs/a [--results=results]
    genrec evaluate --workdir=runs/a --only=next_item \\
        --option=next_item.retriever=scann
    genrec evaluate --workdir=runs/a --against=runs/b
    genrec evaluate --workdir=runs/a --only=served --ensemble=both.json \\
        --ranker=runs/c --weights=click=1

Restores the best-on-validation checkpoint, asks each evaluator for its section,
and writes WORKDIR/evaluation.json, what the evaluators keep for comparisons
(ranks.npz, scores.npz) and, with --results, RESULTS/<config>/<seed>.json: only
of a finished run, with baselines, not of a quick form, and never over the
result of another run. --against adds the paired bootstrap of the difference to
another evaluated workdir on the same prepared data. --option=NAME.OPTION=VALUE
changes an option of an evaluator for this time. --ensemble, --ranker and what
belongs to it, which mean what they do in genrec recommend, add the evaluator
`served`: the list that these stages serve in the end, and which of them finds
or loses a target.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
from typing import Any

from genrec_jax.cli.asked import RunFlags, StageFlags
from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError
from genrec_jax.core.build import build
from genrec_jax.core.seams import Evaluator
from genrec_jax.core.suggest import choices_hint
from genrec_jax.evaluation import document as documents
from genrec_jax.evaluation.next_item import NextItem
from genrec_jax.evaluation.served_list import ServedList
from genrec_jax.experiment.ensemble_options import EnsembleOptions
from genrec_jax.experiment.evaluator_options import check_options, fits
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params, read_progress

COMMAND = Command(__doc__)
_RUN = RunFlags(COMMAND)
_AGAINST = COMMAND.string(
  "against", None, "Another evaluated workdir to compare with, paired."
)
_RESULTS = COMMAND.string(
  "results", None, "Folder of finished runs; gets <config>/<seed>.json."
)
_BASELINES = COMMAND.bool("baselines", True, "Also baselines and oracle.")
_ONLY = COMMAND.list("only", [], "Names of config.evals; default all.")
_OPTION = COMMAND.multi_string(
  "option", [], "NAME.OPTION=VALUE of an evaluator: JSON, True, None or text."
)
_WITH = StageFlags(COMMAND)
COMMAND.require("workdir")
_WORDS = {"True": True, "False": False, "None": None}


def with_options(
  evals: Mapping[str, Evaluator], options: Sequence[str]
) -> dict[str, Evaluator]:
  """Evaluators with other options.

  Raises:
    ValueError: an unknown evaluator or option (names the choices), or a value
      of another kind.
  """
  evals = dict(evals)
  for text in options:
    place, equals, value = text.partition("=")
    name, dot, option = place.partition(".")
    if not (equals and dot):
      raise ValueError(f"--option={text} must be NAME.OPTION=VALUE.")
    if name not in evals:
      hint = choices_hint(name, evals)
      raise ValueError(f"--option={text}: config.evals has no {name!r}.{hint}")
    known = {
      field.name: field.type for field in dataclasses.fields(evals[name])
    }
    if option not in known:
      hint = choices_hint(option, known)
      raise ValueError(f"--option={text}: {name} has no {option!r}.{hint}")
    value = _read(value, known[option])
    where = f"--option={text}: config.evals.{name}"
    check_options(type(evals[name]), {option: value}, where)
    evals[name] = dataclasses.replace(evals[name], **{option: value})
  return evals


def with_stages(run: Run, stages: Any) -> Run:
  """The run with the evaluator `served` of StageFlags, if any is given.

  It takes the place of one that config.evals has.
  """
  if not stages.are_given:
    return run
  measured = NextItem.of(run)
  count = stages.candidates
  if count is None:
    count = ServedList(ensemble=_table(stages)).candidates
  node = {
    "name": "evaluation.ServedList",
    "ks": [k for k in ServedList().ks if k <= count],
    "ensemble": _table(stages),
    "ranker": stages.ranker or "",
    "num_candidates": stages.candidates,
    "weights": stages.weights,
    "assume": stages.assume,
    "filter_history": measured.filter_history,
    "request_time": measured.request_time,
  }
  made = build(node, where="--ensemble and --ranker")
  evals = {n: e for n, e in run.evals.items() if not isinstance(e, ServedList)}
  nodes = {n: run.config["evals"][n] for n in evals}
  return dataclasses.replace(
    run,
    evals={**evals, "served": made},
    config={**run.config, "evals": {**nodes, "served": node}},
  )


def _table(stages: Any) -> Mapping[str, Any]:
  """Of the ensemble; {} where there is none."""
  return EnsembleOptions.table(stages.ensemble) if stages.ensemble else {}


def _read(text: str, kind: Any) -> Any:
  """A value from JSON or as Python writes it, or text without quotes."""
  try:
    value = _WORDS[text] if text in _WORDS else json.loads(text)
  except (ValueError, RecursionError):
    return text
  if isinstance(value, list):
    value = tuple(value)
  # An attribute may be called 7.
  return text if not fits(value, kind) and fits(text, kind) else value


def evaluate(workdir: pathlib.Path) -> str:
  """Measures a run and writes its files; returns what to print."""
  run = with_stages(Run.open(workdir), _WITH)
  evals = with_options(run.evals, _OPTION.value)
  run = dataclasses.replace(run, evals=evals)
  documents.check_writable(workdir)
  if _RESULTS.value:
    documents.check_publishable(
      run,
      _RESULTS.value,
      finished=read_progress(run)["finished"],
      baselines=_BASELINES.value,
    )
    path = documents.result_path(_RESULTS.value, run.config)
    path.parent.mkdir(parents=True, exist_ok=True)
    documents.check_writable(path.parent)
  evaluators = documents.chosen(run, _ONLY.value)
  other = pathlib.Path(_AGAINST.value) if _AGAINST.value else None
  if other is not None:
    documents.check_comparable(run, other, evaluators)
  loaded = load_params(run, _RUN.checkpoint)
  document, kept = documents.measure(
    run, loaded, evaluators, baselines=_BASELINES.value
  )
  for file, arrays in kept.items():
    arrays.save(workdir / file)
  lines = [documents.text(document, evaluators)]
  if other is not None:
    for name, against in documents.compared(workdir, other, evaluators).items():
      document["sections"][name]["against"] = against
      lines.append(evaluators[name].comparison_text(against))
  documents.write_json(workdir / "evaluation.json", document)
  if _RESULTS.value:
    documents.write_json(path, document)
  return "\n".join(lines)


@COMMAND.does
def main() -> None:
  """Entry point."""
  _WITH.check()
  if _RESULTS.value and _WITH.are_given:
    raise UsageError(
      "--results keeps what config.evals names: leave --ensemble and --ranker"
      " out, or write them into the config"
    )
  print(evaluate(pathlib.Path(_RUN.workdir)))
