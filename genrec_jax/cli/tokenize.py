# SPDX-License-Identifier: Apache-2.0
"""Turns the items of a data set into codes, and reports what these are worth.

    genrec tokenize --config=rqkmeans_amazon \\
        --workdir=runs/a --config.data.path=amazon2014

Prepares the data where WORKDIR has none; then WORKDIR/vectors from the items'
texts (config.content), WORKDIR/tokens from the vectors (config.tokens), and
WORKDIR/tokens/quality.html with quality.json. What is up to date stays; what is
there under another config is an error that names the difference. --assign
gives codes to items that a table made earlier lacks, without a new fit;
--retire=@FILE takes the items of a list (an id a line) out of what is
recommended, their codes stay theirs; --stop_after=vectors makes no tokens.
--stop_after=text_tokens makes WORKDIR/text_tokens alone, the words of the texts
(config.text_tokens).
"""

import pathlib

from genrec_jax.cli import given
from genrec_jax.cli.command import Command
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core.build import to_plain
from genrec_jax.report.semantic_ids.quality import make_quality
from genrec_jax.semantic_ids import stages

COMMAND = Command(__doc__)
_CONFIG = COMMAND.config_file("What to code.")
_WORKDIR = COMMAND.string("workdir", None, "Where data/ and tokens/ lie.")
_ASSIGN = COMMAND.bool(
  "assign", False, "Give codes to items that the table lacks."
)
_RETIRE = COMMAND.list(
  "retire",
  None,
  "Item ids, or @FILE with one a line, to take out of what is live.",
)
_STOP_AFTER = COMMAND.enum(
  "stop_after",
  "tokens",
  ["text_tokens", "vectors", "tokens"],
  "The last artifact to make.",
)
COMMAND.require("config", "workdir")


def _summary(report: dict, directory: pathlib.Path) -> str:
  before = report["before_rule"]
  lines = [
    f"{directory}",
    f"  version    {report['version']}, revision {report['revision']}",
    f"  items      {report['items']:,}",
    f"  levels     {', '.join(f'{n:,}' for n in report['level_sizes'])}",
    "  used       "
    + ", ".join(f"{level['used_share']:.1%}" for level in report["levels"]),
    f"  unique     {report['unique']:.2%}, before the uniqueness rule"
    f" {before['unique']:.2%}",
    f"  sharing    {report['depths'][-1]['items_sharing']:,} items share all"
    f" codes, before {before['depths'][-1]['items_sharing']:,} (largest group"
    f" {before['depths'][-1]['largest_group']:,})",
    f"  error      {before['reconstruction']['of_variance']:.3f} of the"
    " vectors' variance",
    f"  report     {directory / 'quality.html'}",
  ]
  return "\n".join(lines)


def _zeros(vectors: ItemVectors) -> str:
  """How many items have no direction, and why."""
  counts = vectors.manifest["counts"]
  without, zero = counts["without_text"], counts.get("zero", 0)
  if not without + zero:
    return ""
  return (
    f"\n{without + zero:,} of them are 0: {without:,} items without text,"
    f" {zero:,} without a word that the encoder knows"
  )


def _run(config: dict, workdir: pathlib.Path) -> str:
  """Makes what is asked for; returns what to print."""
  if _STOP_AFTER.value == "text_tokens":
    stages.directory_of(config, "text_tokens", workdir)
    catalog = stages.prepared(config, workdir)
    made = stages.make_text_tokens(config, catalog, workdir)
    return (
      f"text tokens of {catalog.num_items:,} items: version {made.version},"
      f" {made.manifest['full']:,} of them of {made.tokens.shape[1]} tokens or"
      " cut there"
    )
  stages.directory_of(config, "content", workdir)
  if _STOP_AFTER.value == "vectors":
    catalog = stages.prepared(config, workdir)
    vectors = stages.make_vectors(config, catalog, workdir)
    return (
      f"vectors of {catalog.num_items:,} items: version {vectors.version}"
      + _zeros(vectors)
    )
  directory = stages.directory_of(config, "tokens", workdir)
  catalog = stages.prepared(config, workdir)
  if _ASSIGN.value and directory.exists():
    stages.assign_new(config, catalog, workdir)
  stages.make_tokens(config, catalog, workdir)
  retired = given.ids("retire", _RETIRE.value)
  if retired is not None:
    stages.retire(config, workdir, retired)
  summary = _summary(make_quality(config, catalog, workdir), directory)
  return summary + _zeros(stages.make_vectors(config, catalog, workdir))


@COMMAND.does
def main() -> None:
  """Entry point."""
  text = _run(to_plain(_CONFIG.value), pathlib.Path(_WORKDIR.value))
  print(text)
