# SPDX-License-Identifier: Apache-2.0
"""What a result says of the run it is of: its config, data, device and commit.

config, title (the model's published name, or the config's) and system (class of
its backbone), dataset, seed, commit, date, device, train_seconds, checkpoint
and step (which parameters were measured), parameters, sort_rule, split_rule,
sizes, artifacts, config_values. The sections of the evaluators stand beside it
(evaluation/document.py).
"""

from collections.abc import Mapping
import datetime
import os
import pathlib
import re
import subprocess
from typing import Any

import jax

from genrec_jax.data.schema import Manifest
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.train.state import num_parameters


def description(run: Run, loaded: Loaded) -> dict[str, Any]:
  """What was measured: the run, its parameters, and its data."""
  manifest = run.histories.manifest
  commit, dirty = _commit()
  return {
    "config": run.name,
    "title": run.title,
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
    f"{key} {value}"
    for key, value in split.items()
    if key.endswith(("_start", "_end"))
  ]
  if split.get("once_a_moment"):
    bounds.append("one target a moment")
  for action in split.get("skip_actions", ()):
    bounds.append(f"no {action} a target")
  return ", ".join([split["name"].rsplit(".", 1)[-1], *bounds])


def device_name() -> str:
  """Number and kind of the devices of this process."""
  devices = jax.local_devices()
  kind = devices[0].device_kind
  if devices[0].platform == "cpu":
    return f"CPU, {os.cpu_count()} cores"
  return f"{len(devices)} x {kind}"


def _commit() -> tuple[str, bool]:
  """Commit hash of the code and whether tracked files differ from it.

  "unknown" unless a checkout tracks this very file: an installed package may
  lie within the checkout of something else.
  """
  file = pathlib.Path(__file__).resolve()

  def git(*arguments: str) -> str | None:
    try:
      done = subprocess.run(
        ["git", "-C", str(file.parent), *arguments],
        capture_output=True,
        text=True,
      )
    except FileNotFoundError:
      return None  # A machine without git: the commit is unknown.
    return done.stdout.strip() if done.returncode == 0 else None

  if git("ls-files", "--error-unmatch", "--", file.name) is None:
    return "unknown", False
  commit = git("rev-parse", "HEAD")
  changes = git("status", "--porcelain", "--untracked-files=no")
  return commit or "unknown", bool(changes)
