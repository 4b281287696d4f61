# SPDX-License-Identifier: Apache-2.0
"""Writes a bundle: everything of a run that its answers need.

    written = write_bundle(run, load_params(run), "bundle", ExportOptions())
    print(written.text())

The folder is opened and asked its golden requests, by every program, before it
gets its name: one whose programs differ from the run never appears.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
import time
from typing import Any

from flax import traverse_util
import jax

import genrec_jax
from genrec_jax.core import artifact
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.serving.export import encoders, tensors
from genrec_jax.serving.export.bundle import Bundle
from genrec_jax.serving.export.functions import (
  Functions,
  search_items,
  with_results,
)
from genrec_jax.serving.export.golden import Golden
from genrec_jax.serving.export.manifest import (
  CONFIG,
  GOLDEN,
  ITEMS,
  PARAMETERS,
  write_manifest,
)
from genrec_jax.serving.export.options import ANY, ExportOptions
from genrec_jax.serving.export.programs import (
  check_serializes,
  exported,
  file_of,
)

_MB = 1e6


@dataclasses.dataclass(frozen=True)
class Written:
  """A bundle that was written and opened.

  Attributes:
    directory: where it lies.
    manifest: what it says of itself.
    sizes: bytes by file.
    load_seconds: by number of requests: read, compared, compiled, and the
      golden requests answered.
  """

  directory: pathlib.Path
  manifest: Mapping[str, Any]
  sizes: Mapping[str, int]
  load_seconds: Mapping[str, float]

  def text(self) -> str:
    """Lines for a terminal."""
    manifest = self.manifest
    groups = {"parameters": 0, "programs": 0, "golden": 0}
    for name, size in self.sizes.items():
      group = name.partition("/")[0].partition(".")[0]
      groups[group] = groups.get(group, 0) + size
    parts = [f"{name} {size / _MB:.2f}" for name, size in groups.items()]
    seconds = [f"{n} {s:.1f} s" for n, s in self.load_seconds.items()]
    return "\n".join(
      [
        f"{self.directory}",
        f"  version   {manifest['version']}, {manifest['title']} at step"
        f" {manifest['step']} ({manifest['checkpoint']})",
        f"  programs  {', '.join(manifest['programs'])}; for"
        f" {', '.join(manifest['platforms'])}; requests at a time:"
        f" {', '.join(manifest['sizes'])}",
        f"  size      {sum(self.sizes.values()) / _MB:.2f} MB:"
        f" {', '.join(parts)}",
        f"  load      {', '.join(seconds)}: compiled here, and"
        f" {manifest['golden']} golden requests answered as by the run",
      ]
    )


def write_bundle(
  run: Run,
  loaded: Loaded,
  directory: str | os.PathLike,
  options: ExportOptions | None = None,
) -> Written:
  """Writes a run's bundle to a new folder.

  Args:
    run: with its data.
    loaded: its parameters.
    directory: must not exist yet.
    options: what the bundle is to hold; None = the defaults.

  Raises:
    ValueError: a folder that is there, a run that answers nothing or cannot be
      exported (says what, for which platform and why), or programs that differ
      from it.
    ImportError: flatbuffers is not installed.
  """
  options = ExportOptions() if options is None else options
  check_serializes()
  run = with_results(run, options.num_results)
  parameters = traverse_util.flatten_dict(loaded.params, sep="/")
  items = search_items(run)
  functions = Functions(run, options, parameters, items)
  found = functions.all()
  golden = _golden(functions, loaded.params, {f.name for f in found})
  with artifact.new_folder(directory) as folder:
    codes = None if items is None else run.artifacts.codes()
    if options.encoders:
      encoders.record(run, codes).save(folder)
    text = json.dumps(run.config, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    tensors.save(folder / PARAMETERS, parameters)
    if items is not None:
      kept = tensors.under(tensors.named(items), "search")
      tensors.save(folder / ITEMS, {**kept, "codes_V1M": codes})
    arrays = {}
    for kind, asked in golden.items():
      arrays |= tensors.under(asked.arrays(), kind)
    tensors.save(folder / GOLDEN, arrays)
    programs = _write_programs(folder, found, options)
    values = {
      **_facts(run, loaded, functions, set(programs)),
      "programs": programs,
      "arguments": {f.name: list(f.arguments) for f in found},
      "golden": max(len(asked) for asked in golden.values()),
    }
    write_manifest(folder, values)
    seconds = {}
    for name, rows in options.sizes.items():
      started = time.perf_counter()
      opened = Bundle.open(folder, rows=rows)
      seconds[name] = time.perf_counter() - started
    sizes = {
      path.relative_to(folder).as_posix(): path.stat().st_size
      for path in folder.rglob("*")
      if path.is_file()
    }
  return Written(pathlib.Path(directory), opened.manifest, sizes, seconds)


def _golden(
  functions: Functions, params: Any, names: set[str]
) -> dict[str, Golden]:
  run, found = functions.run, {}
  count = functions.options.num_golden
  if names & {"decode", "retrieve"}:
    found["lists"] = Golden.of_lists(run, params, count, functions.num_results)
  if "score" in names:
    found["logits"] = Golden.of_logits(
      run, params, count, functions.num_candidates
    )
  return found


def _write_programs(folder, found, options) -> dict[str, dict[str, str]]:
  """Function -> number of requests -> file."""
  (folder / "programs").mkdir()
  files: dict[str, dict[str, str]] = {}
  for function in found:
    sizes = options.sizes
    if not function.by_rows:
      # One program for all of them.
      path = file_of(function.name, ANY)
      data = exported(function, 1, options.platforms)
      (folder / path).write_bytes(data)
      files[function.name] = dict.fromkeys(sizes, path)
      continue
    files[function.name] = {}
    for size, rows in sizes.items():
      path = file_of(function.name, size)
      data = exported(function, rows, options.platforms)
      (folder / path).write_bytes(data)
      files[function.name][size] = path
  return files


def _facts(
  run: Run, loaded: Loaded, functions: Functions, names: set[str]
) -> dict[str, Any]:
  """What the manifest says beside files."""
  lists = bool(names & {"decode", "retrieve"})
  tasks = run.pipeline.layout.feedback.tasks if "score" in names else ()
  sizes = () if run.retrieval is None else run.system.level_sizes
  options = functions.options
  return {
    "name": run.name,
    "title": run.title,
    "checkpoint": loaded.checkpoint,
    "step": loaded.step,
    "data": run.histories.manifest.fingerprint,
    "artifacts": run.artifacts.versions,
    "num_items": run.histories.manifest.num_items,
    "num_results": functions.num_results if lists else 0,
    "num_candidates": functions.num_candidates if tasks else 0,
    "tasks": list(tasks),
    "level_sizes": list(sizes),
    "platforms": list(options.platforms),
    "sizes": list(options.sizes),
    "encoders": options.encoders,
    "jax": jax.__version__,
    "genrec_jax": genrec_jax.__version__,
  }
