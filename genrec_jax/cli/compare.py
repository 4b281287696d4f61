# SPDX-License-Identifier: Apache-2.0
"""By how much one system is better than another, or how their configs differ.

    genrec compare --ours=runs/a0,runs/a1 --theirs=runs/b0,runs/b1
    genrec compare --results=results \\
        --ours=genrank_kuairand --theirs=hstu_ranking_kuairand
    genrec compare --configs hstu_movielens hstu_movielens:no_time

Of workdirs it reads what genrec evaluate left there: scores of shown items,
ranks of next items, or both, on the same prepared data; several of a side are
its seeds. With --results a side is a config and all its finished runs; users
are not known there, so that their intervals are left out.

Prints the differences of AUC, GAUC, NE and log loss of every task, and of HR@k,
NDCG@k and MRR@k of the next item, with 95 % intervals over users, over seeds
and over both, and which side is ahead by those over seeds. Name the metric that
counts beforehand (--primary=long_view/auc); all others are corrected for how
many they are, fewer with --metrics=auc,ne. --json prints one line.
--ranker=model_frozen compares what rankers say behind histories that end where
the part begins.

--configs prints what differs between two configs, by name or FILE.py, node by
node.
"""

from genrec_jax.cli.command import Command
from genrec_jax.cli.config_flag import load_config
from genrec_jax.cli.ending import UsageError
from genrec_jax.core.build import to_plain
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.shown_items_measurement import MODEL
from genrec_jax.report import comparison, sides
from genrec_jax.report.config_differences import differences

COMMAND = Command(__doc__)
_OURS = COMMAND.list("ours", None, "Evaluated workdirs, or a config.")
_THEIRS = COMMAND.list("theirs", None, "What they are compared with.")
_RESULTS = COMMAND.string(
  "results", None, "Folder of finished runs; --ours and --theirs are configs."
)
_PART = COMMAND.enum("part", "test", list(PARTS), "Of the split.")
_RANKER = COMMAND.string(
  "ranker",
  MODEL,
  "Whose scores or ranks of a workdir: model, model_frozen, ...",
)
_PRIMARY = COMMAND.string(
  "primary",
  None,
  "TASK/METRIC or 'next item/METRIC' that is not corrected for the others; by"
  " default next item/ndcg@10, or the AUC of the first task.",
)
_METRICS = COMMAND.list("metrics", [], "Only these; default: all.")
_JSON = COMMAND.bool("json", False, "One line of JSON instead of a table.")
_CONFIGS = COMMAND.list("configs", None, "Two configs: what differs in them.")
COMMAND.collects("configs")


def print_differences(arguments: list[str]) -> None:
  """Says how two configs differ."""
  if len(arguments) != 2:
    raise UsageError(
      f"--configs compares two configs, and was given {len(arguments)}: write"
      " --configs A B."
    )
  nodes = [
    to_plain(load_config(a).copy_and_resolve_references()) for a in arguments
  ]
  print(f"- {arguments[0]}\n+ {arguments[1]}\n")
  print(differences(*nodes) or "They are equal.")


def compared(
  ours: list[str],
  theirs: list[str],
  *,
  results: str | None = None,
  part: str = "test",
  ranker: str = MODEL,
  primary: str | None = None,
  metrics: list[str] | None = None,
) -> comparison.Comparison:
  """What the flags ask for; ValueError where it cannot be answered."""
  if results is None:
    found = sides.of_workdirs(ours, theirs, part, ranker)
  else:
    for flag, side in (("ours", ours), ("theirs", theirs)):
      if len(side) != 1:
        raise ValueError(
          f"--{flag}={','.join(side)}: with --results a side is one config, and"
          " its seeds are all that are there."
        )
    found = sides.of_results(results, ours[0], theirs[0], part, ranker)
  a, b, measured = found
  return comparison.compare(
    a, b, f"{part}, {ranker}", measured, primary, metrics or ()
  )


@COMMAND.does
def main() -> None:
  """Entry point."""
  if _CONFIGS.value is not None:
    if _OURS.value or _THEIRS.value:
      raise UsageError("--configs stands alone, without --ours and --theirs")
    print_differences(_CONFIGS.value)
    return
  if not (_OURS.value and _THEIRS.value):
    raise UsageError("give --ours and --theirs, or --configs A B")
  found = compared(
    _OURS.value,
    _THEIRS.value,
    results=_RESULTS.value,
    part=_PART.value,
    ranker=_RANKER.value,
    primary=_PRIMARY.value,
    metrics=_METRICS.value,
  )
  said = comparison.line_of if _JSON.value else comparison.table_of
  print(said(found))
