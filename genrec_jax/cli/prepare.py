# SPDX-License-Identifier: Apache-2.0
"""Turns a raw event log into a prepared data set, and says what it kept.

    genrec prepare --config=hstu_movielens \\
        --workdir=runs/a --config.data.path=ml-1m.zip

Reads config.data (the source), config.split and config.filter; writes
WORKDIR/data. A data set that is up to date stays; one of another config is an
error that names what differs. genrec train does the same where WORKDIR has
no data yet.
"""

import pathlib
from typing import Any

from absl import logging

from genrec_jax.cli.command import Command
from genrec_jax.core.build import build, to_plain
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import Manifest

COMMAND = Command(__doc__)
_CONFIG = COMMAND.config_file("What to prepare.")
_WORKDIR = COMMAND.string("workdir", None, "Where data/ is written.")
COMMAND.require("config", "workdir")


def _impressions(counts: dict[str, Any]) -> list[str]:
  """What rows of actions became, see data/prepare/labels.py."""
  return [
    f"  shown      {counts['impressions']:,} impressions of"
    f" {counts['rows']:,} rows (before rare users and items go);"
    f" {counts['repeated']:,} more views in their visits",
    *(
      f"             {number:,} were followed by {name},"
      f" {counts['unseen'][name]:,} rows of which follow none in the window"
      for name, number in counts["labels"].items()
    ),
    f"             {counts['open']:,} have a window that outlasts the log:"
    " labels may be missing",
  ]


def _summary(manifest: Manifest, directory: pathlib.Path) -> str:
  counts, table = manifest.counts, manifest.item_table
  lines = [
    f"{directory}",
    f"  source     {manifest.source}",
    *(
      f"             {name} sha256 {digest[:16]}..."
      for name, digest in manifest.checksums.items()
    ),
    f"  events     {counts['in']:,} in, {counts['out']:,} kept",
    *(
      f"             {number:,} dropped: {reason}"
      for reason, number in counts["dropped"].items()
    ),
  ]
  if counts["duplicates"] and "exact duplicate" not in counts["dropped"]:
    lines.append(f"             {counts['duplicates']:,} exact duplicates kept")
  lines += [
    f"  users      {manifest.num_users:,} of {counts['users_in']:,}",
    f"  items      {manifest.num_items:,}; {counts['items_in']:,} have events",
  ]
  if table["rows"]:
    lines.append(
      f"             item table: {table['rows']:,} rows,"
      f" {table['duplicate_rows']:,} repeated,"
      f" {table['items_without_row']:,} items without a row"
    )
  if "user_table" in counts:
    users = counts["user_table"]
    lines.append(
      f"             user table: {users['rows']:,} rows,"
      f" {users['duplicate_rows']:,} repeated,"
      f" {users['users_without_row']:,} users without a row"
    )
  if "impressions" in counts:
    lines += _impressions(counts["impressions"])
  lines += [
    f"  fields     {', '.join(manifest.fields)}",
    f"  split      {', '.join(f'{v}' for v in manifest.split.values())}",
    f"  sorted     {manifest.sort_rule}",
    f"  id         {manifest.fingerprint}",
  ]
  if len(manifest.actions) > 1:
    lines.insert(-3, f"  actions    {', '.join(manifest.actions[1:])}")
  return "\n".join(lines)


@COMMAND.does
def main() -> None:
  """Entry point."""
  logging.set_verbosity(logging.INFO)
  config = to_plain(_CONFIG.value)
  directory = pathlib.Path(_WORKDIR.value) / "data"
  manifest = prepare(
    build(config["data"], where="config.data"),
    build(config["split"], where="config.split"),
    directory,
    **config.get("filter", {}),
  )
  print(_summary(manifest, directory))
