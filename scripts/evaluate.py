# SPDX-License-Identifier: Apache-2.0
"""Evaluates a trained run: metrics, intervals, slices, floors and ceiling.

    python scripts/evaluate.py --workdir=runs/a [--results=results]
    python scripts/evaluate.py --workdir=runs/a --against=runs/b

Restores the parameters of the best-on-validation checkpoint, ranks the whole
catalogue for every validation and test target, and writes
WORKDIR/evaluation.json, WORKDIR/ranks.npz and, with --results,
RESULTS/<config>/<seed>.json: only of a finished run, with floors, not of a
quick form, and never over the result of another run. --against adds the paired
bootstrap of the difference to another evaluated workdir on the same prepared
data, --decoding_users what a search through codes loses.

A system that scores shown items (config.eval names ImpressionRanking) is
measured on every labelled impression of both parts instead, and leaves
WORKDIR/scores.npz; one that does both (RetrievalAndRanking) in both ways, the
second under the document's key "ranking".
"""

import json
import pathlib
import tempfile

from absl import app, flags, logging

from genrec_jax.core.flag_names import parse_flags
from genrec_jax.evaluation import (
  results,
  shown_items_results as impression_results,
)
from genrec_jax.evaluation.decoding import measure_decoding
from genrec_jax.evaluation.joint_validation import RetrievalAndRanking
from genrec_jax.evaluation.measurement import MODEL, REQUEST_TIMES, measure
from genrec_jax.evaluation.ranks import Ranks, check_same_data, compare
from genrec_jax.evaluation.scores import Scores
from genrec_jax.evaluation.shown_items import ImpressionRanking
from genrec_jax.evaluation.shown_items_measurement import measure_impressions
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import (
  CHECKPOINTS,
  Loaded,
  load_params,
  read_progress,
)
from genrec_jax.report.ranking.runs import RANKING
from genrec_jax.serving.recommender import RETRIEVERS, Recommender

FILES = {Ranks: "ranks.npz", Scores: "scores.npz"}

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a trained run.")
_AGAINST = flags.DEFINE_string(
  "against", None, "Another evaluated workdir to compare with, paired."
)
_RESULTS = flags.DEFINE_string(
  "results", None, "Folder of finished runs; gets <config>/<seed>.json."
)
_FLOORS = flags.DEFINE_bool("floors", True, "Also the floors and the ceiling.")
_REQUEST_TIME = flags.DEFINE_enum(
  "request_time",
  "target",
  list(REQUEST_TIMES),
  "When a system that uses times is asked: at the target's time, or a median"
  " gap after the last event. The other one is measured beside it.",
)
_RETRIEVER = flags.DEFINE_enum(
  "retriever",
  None,
  list(RETRIEVERS),
  "Exact, or approximate, for systems of vectors; the default is exact.",
)
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint", "best", list(CHECKPOINTS), "Best on validation, or the latest."
)
_DECODING_USERS = flags.DEFINE_integer(
  "decoding_users",
  0,
  "Of a system that generates: compare beam search with scoring the whole"
  " catalogue, and count invalid codes, on so many test users.",
  lower_bound=0,
)
flags.mark_flag_as_required("workdir")


def against(ours: Ranks | Scores, other: pathlib.Path) -> dict:
  """The differences to another workdir, on every part."""
  theirs = read_measured(other, type(ours))
  document = json.loads((other / "evaluation.json").read_text("utf-8"))
  if isinstance(ours, Scores):
    differences = {
      part: impression_results.differences(ours, theirs, part)
      for part in ours.parts
    }
  else:
    differences = {
      part: results.triples(compare(ours, theirs, part, MODEL, MODEL))
      for part in ours.parts
    }
  return {
    "workdir": str(other),
    "config": document["config"],
    "seed": document["seed"],
    "differences": differences,
  }


def kinds_of(run: Run, other: pathlib.Path | None = None) -> tuple[type, ...]:
  """What a run is measured as, and with `other` what both can be paired by."""
  kinds: tuple[type, ...] = (Ranks,)
  if isinstance(run.validator, ImpressionRanking):
    kinds = (Scores,)
  elif isinstance(run.validator, RetrievalAndRanking):
    kinds = (Ranks, Scores)
  if other is None:
    return kinds
  there = tuple(k for k in kinds if (other / FILES[k]).is_file())
  # Where there is nothing, reading the first says so.
  return there or kinds[:1]


def read_measured(
  workdir: pathlib.Path, kind: type[Ranks] | type[Scores]
) -> Ranks | Scores:
  """What an evaluation of a workdir left behind."""
  return kind.load(workdir / FILES[kind])


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


def evaluate(workdir: pathlib.Path) -> dict:
  """Measures a run and writes its files; returns the document."""
  run = Run.open(workdir)
  check_writable(workdir)
  if _RESULTS.value:
    results.check_publishable(
      run,
      _RESULTS.value,
      finished=read_progress(run)["finished"],
      with_floors=_FLOORS.value,
    )
    path = results.result_path(_RESULTS.value, run.config)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path.parent)
  paired: tuple[type, ...] = ()
  if _AGAINST.value:
    other = pathlib.Path(_AGAINST.value)
    paired = kinds_of(run, other)
    for kind in paired:
      check_same_data(
        run.histories.manifest.fingerprint,
        read_measured(other, kind).fingerprint,
      )
  loaded = load_params(run, _CHECKPOINT.value)
  documents, measured = [], {}
  for kind in kinds_of(run):
    measure_run = measure_shown if kind is Scores else measure_search
    document, measured[kind] = measure_run(run, loaded)
    if kind in paired:
      document["against"] = against(measured[kind], other)
    documents.append(document)
  document = documents[0]
  for more in documents[1:]:
    known = results.description(run, loaded)
    document[RANKING] = {k: v for k, v in more.items() if k not in known}
  for kind, arrays in measured.items():
    arrays.save(workdir / FILES[kind])
  results.write_json(workdir / "evaluation.json", document)
  if _RESULTS.value:
    results.write_json(path, document)
  return document


def measure_search(run: Run, loaded: Loaded) -> tuple[dict, Ranks]:
  """Of a system that finds items in the whole catalogue."""
  model = Recommender.of_run(run, loaded.params, _RETRIEVER.value)
  measured = measure(
    run,
    model.search,
    with_floors=_FLOORS.value,
    request_time=_REQUEST_TIME.value,
  )
  document = results.document(
    run, measured, loaded=loaded, retriever=_RETRIEVER.value
  )
  if _DECODING_USERS.value:
    document["decoding"] = measure_decoding(
      run, loaded.params, num_users=_DECODING_USERS.value
    )
  fingerprint = run.histories.manifest.fingerprint
  return document, Ranks.of(fingerprint, measured.evaluations)


def measure_shown(run: Run, loaded: Loaded) -> tuple[dict, Scores]:
  """Of a system that scores the items of an impression."""
  measured = measure_impressions(run, loaded.params, with_floors=_FLOORS.value)
  scores = Scores.of(run.histories.manifest.fingerprint, measured)
  document = impression_results.document(run, measured, scores, loaded=loaded)
  return document, scores


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  try:
    document = evaluate(pathlib.Path(_WORKDIR.value))
  except ValueError as error:
    # A wrong folder or checkpoint: the message says it all.
    raise SystemExit(f"error: {error}") from error
  printed = impression_results if "tasks" in document else results
  print(printed.table(document))
  if "decoding" in document:
    print(results.decoding_table(document["decoding"]))
  if "against" in document:
    print(printed.comparison_table(document["against"]))
  if RANKING in document:
    ranking = document[RANKING]
    print(impression_results.table(document | ranking))
    if "against" in ranking:
      print(impression_results.comparison_table(ranking["against"]))


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
