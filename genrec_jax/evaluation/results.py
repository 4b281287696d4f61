# SPDX-License-Identifier: Apache-2.0
"""What a finished run says of itself: one JSON document.

It is WORKDIR/evaluation.json and, for the README's table, also
results/<config>/<seed>.json. Its parts are named as in
evaluation/measurement.py: "validation" and "test" with the history hidden, and
suffixed variants.

    metrics, intervals   {PART: {"hr@10": value | [low, high]}}
    floors               {FLOOR: {PART: {"hr@10": value}}}
    versus               {FLOOR: {PART: {"hr@10": [difference, low, high]}}}
    slices               {PART: {KIND: {SLICE: {"requests", "share", ...}}}}

and what makes the numbers readable: config, system, dataset, seed, commit,
date, device, train_seconds, checkpoint and step (which parameters were
measured), parameters, sort_rule, split_rule, sizes, notes, config_values.
Intervals are 95 %, users resampled (metrics/bootstrap.py). A system that ranks
shown items too has the figures of evaluation/shown_items_results.py under
"ranking".
"""

from collections.abc import Mapping
import datetime
import json
import os
import pathlib
import re
import subprocess
from typing import Any

import jax

from genrec_jax.core import atomic
from genrec_jax.core.dotted import flat
from genrec_jax.data.schema import Manifest
from genrec_jax.evaluation.measurement import MODEL, Measurement
from genrec_jax.evaluation.ranks import Ranks, compare
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics import bootstrap
from genrec_jax.metrics.ranking import per_request
from genrec_jax.train.state import num_parameters

_SHOWN = ("hr@10", "ndcg@10", "mrr@10", "hr@50", "hr@200")


def document(
  run: Run,
  measured: Measurement,
  *,
  loaded: Loaded,
  retriever: str | None,
) -> dict[str, Any]:
  """Returns the JSON-able document of a run.

  Args:
    run: what was trained.
    measured: what was measured.
    loaded: the parameters that were measured.
    retriever: name of the index that was searched; None for the config's own.
  """
  model = measured.of(MODEL)
  fingerprint = run.histories.manifest.fingerprint
  return {
    **description(run, loaded),
    "retriever": retriever or run.retriever_name,
    "num_requests": {part: e.num_requests for part, e in model.items()},
    "repeat_share": {
      part: float(e.repeats_R.mean()) for part, e in model.items()
    },
    "evaluate_seconds": {
      part: round(e.seconds, 2) for part, e in model.items()
    },
    "metrics": {part: e.metrics for part, e in model.items()},
    "intervals": {part: _intervals(e) for part, e in model.items()},
    "floors": {
      name: {part: e.metrics for part, e in measured.of(name).items()}
      for name in measured.floors
    },
    "versus": _versus(measured, fingerprint),
    "slices": {
      part: model[part].slices(run.catalog.count) for part in measured.parts
    },
    "notes": list(measured.notes),
  }


def description(run: Run, loaded: Loaded) -> dict[str, Any]:
  """What was measured: the run, its parameters, and its data."""
  manifest = run.histories.manifest
  commit, dirty = _commit()
  return {
    "config": run.config["name"],
    "system": system_name(run.config),
    "dataset": dataset_name(manifest, run.histories.directory),
    "seed": run.config["seed"],
    "commit": commit,
    "dirty": dirty,
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "device": device_name(),
    "train_seconds": round(loaded.progress["seconds"], 1),
    "checkpoint": loaded.checkpoint,
    "step": loaded.step,
    "parameters": num_parameters(loaded.params),
    "sort_rule": manifest.sort_rule,
    "split_rule": split_rule(manifest.split),
    "fingerprint": manifest.fingerprint,
    "artifacts": run.artifacts.versions,
    "num_users": manifest.num_users,
    "num_items": manifest.num_items,
    "num_events": manifest.num_events,
    "config_values": run.config,
  }


def _intervals(evaluation) -> dict[str, list[float]]:
  found = bootstrap.intervals(
    per_request(evaluation.ranks_R, evaluation.ks), evaluation.users_R
  )
  return {name: [i.low, i.high] for name, i in found.items()}


def _versus(measured: Measurement, fingerprint: str) -> dict[str, Any]:
  ranks = Ranks.of(fingerprint, measured.evaluations)
  return {
    name: {
      part: triples(compare(ranks, ranks, part, MODEL, name))
      for part in measured.parts
    }
    for name in measured.floors
  }


def triples(
  intervals: Mapping[str, bootstrap.Interval],
) -> dict[str, list[float]]:
  """Returns {metric: [difference, low, high]}."""
  return {name: [i.mean, i.low, i.high] for name, i in intervals.items()}


def dataset_name(manifest: Manifest, directory: str | os.PathLike) -> str:
  """The log that the data came from, or the source and its text options.

  ml-1m.zip gives "ml-1m", Files(path="My log.csv", items_path=...) "my-log",
  Amazon2014(category="Beauty") "amazon2014-beauty": lower case letters,
  digits, "_" and "-".
  """
  files = [
    name
    for name in manifest.checksums
    if not (pathlib.Path(directory) / name).exists()
  ]
  source = manifest.options["source"]
  kind = source["name"].rsplit(".", 1)[-1]
  # The user's own log is the first of its files, an item table the last.
  if files and (len(files) == 1 or kind == "Files"):
    text = pathlib.PurePath(files[0]).name.split(".")[0]
  else:
    # Where a source lies does not say what it is.
    options = [v for k, v in source.items() if k not in ("name", "path")]
    texts = [v for v in options if v and isinstance(v, str)]
    text = "-".join([kind, *texts])
  return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-") or kind.lower()


def system_name(config: Mapping[str, Any]) -> str:
  """Class of the backbone, or of the system where it has none."""
  node = config["system"].get("backbone", config["system"])
  return node["name"].rsplit(".", 1)[-1]


def split_rule(split: Mapping[str, Any]) -> str:
  """The split in one line: its name and, where it has any, its bounds."""
  bounds = [
    f"{key} {value}" for key, value in split.items() if key.endswith("_start")
  ]
  return ", ".join([split["name"].rsplit(".", 1)[-1], *bounds])


def device_name() -> str:
  """Number and kind of the devices of this process."""
  devices = jax.local_devices()
  kind = devices[0].device_kind
  if devices[0].platform == "cpu":
    return f"CPU, {os.cpu_count()} cores"
  return f"{len(devices)} x {kind}"


def _commit() -> tuple[str, bool]:
  """Commit hash of the code and whether tracked files differ from it."""
  here = pathlib.Path(__file__).resolve().parent

  def git(*arguments: str) -> str | None:
    try:
      done = subprocess.run(
        ["git", "-C", str(here), *arguments], capture_output=True, text=True
      )
    except FileNotFoundError:
      return None  # A machine without git: the commit is unknown.
    return done.stdout.strip() if done.returncode == 0 else None

  commit = git("rev-parse", "HEAD")
  changes = git("status", "--porcelain", "--untracked-files=no")
  return commit or "unknown", bool(changes)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a file as a whole or not at all; NaN is an error."""
  text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write_text(path, text + "\n")


def result_path(folder: str | os.PathLike, config: Mapping) -> pathlib.Path:
  """results/<config>/<seed>.json of a run's config."""
  return pathlib.Path(folder) / config["name"] / f"{config['seed']}.json"


def check_publishable(
  run: Run, folder: str | os.PathLike, *, finished: str, with_floors: bool
) -> None:
  """Raises a ValueError where a run is no result for `folder`.

  Args:
    run: what would be measured.
    folder: of finished runs.
    finished: why the run needs no more training; "" where it does.
    with_floors: whether floors are measured beside it.
  """
  name, path = run.config["name"], result_path(folder, run.config)
  if name.endswith("-quicktest"):
    raise ValueError(
      f"{name} is the quick form of a config, and no result: leave --results"
      " out, or train the config without the word quicktest"
    )
  if not with_floors:
    raise ValueError(
      "a result needs its floors: leave --nofloors out, or --results"
    )
  if not finished:
    raise ValueError(
      f"the training in {run.workdir} has not finished, so this is no result"
      " yet: start the same scripts/train.py command again, or leave --results"
      " out"
    )
  if path.is_file():
    _check_replaces(path, run)


def _check_replaces(path: pathlib.Path, run: Run) -> None:
  """Raises where the result at `path` is of other data or another config."""
  there = json.loads(path.read_text(encoding="utf-8"))
  # JSON has no tuples: compare what would be read back.
  values = json.loads(json.dumps(run.config))
  old = {"fingerprint": there["fingerprint"], **flat(there["config_values"])}
  new = {"fingerprint": run.histories.manifest.fingerprint, **flat(values)}
  lines = [
    f"  {key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now"
    for key in sorted(old.keys() | new.keys())
    if old.get(key, "absent") != new.get(key, "absent")
  ]
  if lines:
    raise ValueError(
      f"{path} is the result of another run:\n"
      + "\n".join(lines)
      + "\nGive this one another config name or seed, another --results, or"
      " delete that file first."
    )


def table(result: Mapping[str, Any]) -> str:
  """The document's numbers as lines of text."""
  names = [m for m in _SHOWN if m in result["metrics"]["test"]]
  width = 40
  lines = [
    f"{result['config']}, seed {result['seed']}, on {result['dataset']}:"
    f" {result['num_users']:,} users, {result['num_items']:,} items,"
    f" {result['split_rule']}",
    f"{'':{width}}" + "".join(f"{name:>10}" for name in names),
  ]

  def line(label: str, values: Mapping[str, float]) -> str:
    cells = "".join(f"{values[name]:>10.4f}" for name in names)
    return f"{label:{width}}{cells}"

  for part, values in result["metrics"].items():
    for floor, parts in result["floors"].items():
      if floor != "ceiling" and part in parts:
        lines.append(line(f"  {part}: {floor}", parts[part]))
    lines.append(line(f"* {part}: {result['system']}", values))
    low = {n: result["intervals"][part][n][0] for n in names}
    high = {n: result["intervals"][part][n][1] for n in names}
    lines += [line("      95 % from", low), line("      to", high)]
    if part in result["floors"].get("ceiling", {}):
      lines.append(
        line(f"  {part}: ceiling", result["floors"]["ceiling"][part])
      )
  lines += [f"note: {note}" for note in result["notes"]]
  return "\n".join(lines)


def decoding_table(decoding: Mapping[str, Any]) -> str:
  """Lines of text for the document's "decoding"."""
  names = [m for m in _SHOWN if m in decoding["metrics"]["exact"]]
  lines = [f"decoding, {decoding['users']} test users:"]
  lines += [
    f"  {kind:38}" + "".join(f"  {n} {values[n]:.4f}" for n in names)
    for kind, values in decoding["metrics"].items()
  ]
  cold = decoding["cold"]
  lines.append(
    f"  {cold['requests']} test requests for items without a training event"
    f" ({cold['share']:.2%} of all requests are such):"
  )
  lines += [
    f"  {kind:38}" + "".join(f"  {n} {values[n]:.4f}" for n in names)
    for kind, values in cold["metrics"].items()
  ]
  shares = ", ".join(
    f"{share:.2%} after {depth}"
    for depth, share in decoding["invalid_share_by_depth"].items()
  )
  lines += [
    f"  beam's ten among the exact ten: {decoding['overlap_of_10']:.1%}",
    f"  without a trie, codes that no item has: {shares}",
  ]
  return "\n".join(lines)


def comparison_table(against: Mapping[str, Any]) -> str:
  """Lines of text for one entry of the document's "against"."""
  lines = [f"minus {against['config']}, seed {against['seed']} (paired):"]
  for part, metrics in against["differences"].items():
    for name in (m for m in _SHOWN if m in metrics):
      mean, low, high = metrics[name]
      sure = "  excludes 0" if bootstrap.excludes_zero(low, high) else ""
      lines.append(
        f"  {part:22}{name:>10}{mean:>+10.4f}  [{low:+.4f}, {high:+.4f}]{sure}"
      )
  return "\n".join(lines)
