# SPDX-License-Identifier: Apache-2.0
"""What a user would do with given items, by a trained ranker.

    genrec rank --workdir=runs/a --user=42 --candidates=50,181,172
    genrec rank --workdir=runs/a --user=42 --candidates=@items.txt \\
        --weights=click=1,like=10 --output=ranked.parquet
    genrec rank --workdir=runs/a --user=42 --candidates=@items.txt \\
        --policy=diverse:attribute=author_id,limit=2,within=10
    genrec rank --workdir=runs/a --user=42 --candidates=@items.txt \\
        --policy=sequential --k=10
    genrec rank --workdir=runs/a --user=42 --candidates=@items.txt \\
        --what_if=-1=skip,-4=removed
    genrec rank --workdir=runs/a --history=7,12 --candidates=50,181,172

--candidates lists item ids, or @FILE with one a line. --history takes the place
of the user's events: ids, oldest first, or @FILE with one a line, or with a
table of item_id, action and time (.csv, .parquet, .jsonl). Of a user who is not
in the data, and without --user, nothing else is known. The value that orders
the items is the sum of weight x probability; without --weights those of
config.value, and without these of all tasks alike. Policies are greedy (by
value), diverse (at most `limit` of one value of an attribute among the first
`within` places) and sequential (scores the candidates anew for every place).
--what_if changes past events (-1 is the last) and prints what that makes of the
probabilities. A flag's name may be written with - or with _.
"""

import polars as pl

from genrec_jax.cli import given
from genrec_jax.cli.asked import RunFlags, WhomFlags
from genrec_jax.cli.command import Command
from genrec_jax.ranking.what_if import changes_of
from genrec_jax.serving import Ranker, load_ranker
from genrec_jax.serving.table_file import TableFile

COMMAND = Command(__doc__)
_RUN = RunFlags(COMMAND)
_WHOM = WhomFlags(COMMAND)
_CANDIDATES = COMMAND.list(
  "candidates", None, "Ids of the items to rank, or @FILE with one a line."
)
_WEIGHTS = COMMAND.string(
  "weights", "", "As click=1,like=10; default: config.value."
)
_POLICY = COMMAND.string(
  "policy", "greedy", "How a list is made: greedy, diverse:..., sequential."
)
_WHAT_IF = COMMAND.string(
  "what_if", None, "Changes of the history: EVENT=ACTION or EVENT=removed."
)
_OUTPUT = COMMAND.string(
  "output", None, "File for the table: .parquet, .csv or .jsonl."
)
_K = COMMAND.integer(
  "k",
  None,
  "Places of the list; default: 20 are printed, --output gets all.",
  lower_bound=1,
)
_MICRO_BATCH = COMMAND.integer(
  "micro_batch", 256, "Candidates scored at a time.", lower_bound=1
)
COMMAND.require("workdir", "candidates")
_PRINTED = 20


def answer(ranker: Ranker) -> pl.DataFrame:
  """The table that the flags ask for."""
  candidates = given.ids("candidates", _CANDIDATES.value)
  given.unknown("candidates", candidates, ranker.catalog)
  options = {
    "history": _WHOM.history,
    "weights": _WEIGHTS.value,
    "request_time": _WHOM.request_time,
    "strict": _WHOM.strict,
  }
  if _WHAT_IF.value is not None:
    if _POLICY.value != "greedy":
      raise ValueError(
        "--what_if compares scores and makes no list: leave --policy out."
      )
    table = ranker.what_if(candidates, _WHOM.user, _WHAT_IF.value, **options)
    return table if _K.value is None else table.head(_K.value)
  k = _K.value
  if k is None and not _OUTPUT.value:
    k = min(_PRINTED, len(candidates)) or None
  return ranker.rank(
    candidates, _WHOM.user, policy=_POLICY.value, k=k, **options
  )


def _named(row: dict) -> str:
  title = "" if row["title"] in ("", row["item_id"]) else row["title"] + "  "
  return f"{title}{row['item_id']}"


def print_changes(ranker: Ranker) -> None:
  """Says which events are changed, and to what."""
  history = ranker.history(_WHOM.user, _WHOM.history)
  for change in changes_of(_WHAT_IF.value):
    row = history.row(change.event, named=True)
    before = row["action"] or "nothing known"
    print(f"event {row['event']}, {_named(row)}: {before} -> {change.action}")


def print_table(table: pl.DataFrame) -> None:
  """Numbers of every item; of a what-if what they were and what they become."""
  names = [n for n in table.columns if n not in ("item_id", "title")]
  width = 2 + max(10, *(len(name) for name in names))
  print(f"{'':>4}" + "".join(f"{n:>{width}}" for n in names) + "  item")
  rows = table.head(_K.value or _PRINTED).iter_rows(named=True)
  for place, row in enumerate(rows, 1):
    numbers = "".join(f"{row[name]:>{width}.4f}" for name in names)
    print(f"{place:>4}{numbers}  {_named(row)}")


@COMMAND.does
def main() -> None:
  """Entry point."""
  given.warnings_as_notes()
  output = TableFile(_OUTPUT.value) if _OUTPUT.value else None
  ranker = load_ranker(
    _RUN.workdir,
    checkpoint=_RUN.checkpoint,
    micro_batch=_MICRO_BATCH.value,
  )
  table = answer(ranker)
  if output is not None:
    with output as file:
      file.write(table)
  if _WHAT_IF.value is not None:
    print_changes(ranker)
  print_table(table)
