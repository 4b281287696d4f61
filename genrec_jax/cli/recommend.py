# SPDX-License-Identifier: Apache-2.0
"""Recommendations of a trained run: for a user, a list of items, or everyone.

    genrec recommend --workdir=runs/a --user=42 --k=10
    genrec recommend --workdir=runs/a --history=50,181,172
    genrec recommend --workdir=runs/a --all-users \\
        --output=recs.parquet
    genrec recommend --workdir=runs/a --user=42 \\
        --where=category=Bowl --deny=@sold_out.txt
    genrec recommend --workdir=runs/a --list_users=5
    genrec recommend --workdir=runs/a --user=42 --ranker=runs/b \\
        --candidates=100 --weights=click=1,like=10
    genrec recommend --workdir=runs/a --user=42 --ensemble=both.json
    genrec recommend --workdir=runs/a --user=42 --list_size=5
    genrec recommend --workdir=runs/a --user=42 --ranker=runs/a --assume=likely

With --ensemble, several retrievers answer as one: its JSON names them and the
rule that joins their lists (experiment/ensemble_options.py). With --ranker,
what the first model finds is ordered by what the user would do with it, by a
second (genrec rank) on the same data, or by the same one if it does both. With
--assume it makes the list place by place, each item behind those before it and
what is assumed of them, if it is a model of one sequence. With --list_size the
first model writes the list itself, code by code. Seen items are left out where
the run's evaluation does so, or as --keep-seen or --nokeep-seen says; --allow
and --deny list item ids, or @FILE with one a line, of which unknown ones are
counted on stderr; --where asks for a value of an attribute. --history takes the
place of the user's events, or stands alone; @FILE may be a table of item_id,
action and time. Whoever nothing is known of gets popular items, marked as such,
unless --strict is given. --all-users writes user_id, rank, item_id, score,
title, source to a .parquet, .csv or .jsonl file, which appears when it is
complete; --notitles leaves the titles out. A .parquet file also says when the
lists were made and which events they know (serving/list_facts.py). --as_of=test
asks what an evaluation asks, and writes what it withheld beside the lists. A
flag's name may be written with - or with _.
"""

from typing import Any

import polars as pl
from tqdm import tqdm

from genrec_jax.cli import given
from genrec_jax.cli.asked import RunFlags, StageFlags, WhomFlags
from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.times import to_the_minute
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.searches import RETRIEVERS
from genrec_jax.serving import Recommender, load
from genrec_jax.serving.found import POPULAR
from genrec_jax.serving.list_facts import ListFacts
from genrec_jax.serving.table_file import TableFile

COMMAND = Command(__doc__)
_RUN = RunFlags(COMMAND)
_WHOM = WhomFlags(COMMAND)
_ALL = COMMAND.bool("all_users", False, "Every user, into --output.")
_LIST = COMMAND.integer("list_users", 0, "Print this many user ids.")
_OUTPUT = COMMAND.string(
  "output", None, "File of --all-users: .parquet, .csv or .jsonl."
)
_AS_OF = COMMAND.enum(
  "as_of",
  None,
  ["validation", "test"],
  "Of --all-users: ask what an evaluation of that part asks.",
)
_ALLOW = COMMAND.list("allow", None, "Ids of these items alone, or @FILE.")
_DENY = COMMAND.list("deny", [], "Ids of none of these, or @FILE.")
_WHERE = COMMAND.multi_string(
  "where", [], "ATTRIBUTE=VALUE; given again for one attribute, either will do."
)
_K = COMMAND.integer("k", 10, "Items per user.", lower_bound=1)
_KEEP_SEEN = COMMAND.bool(
  "keep_seen", None, "Do not hide seen items; default: as it was evaluated."
)
_TITLES = COMMAND.bool(
  "titles", True, "Of --all-users: write the items' titles beside their ids."
)
_SHOW = COMMAND.integer("show_events", 10, "Last events printed.")
_RETRIEVER = COMMAND.enum(
  "retriever",
  None,
  list(RETRIEVERS),
  "Exact, or approximate, for systems of vectors; the default is exact.",
)
_LIST_SIZE = COMMAND.integer(
  "list_size",
  None,
  "A model that writes lists writes one of so many items, each behind those"
  " before it; --k is at most this.",
  lower_bound=1,
)
_WITH = StageFlags(COMMAND)
COMMAND.require("workdir")


def print_one(model: Recommender) -> None:
  """Prints the history of one user and what follows from it."""
  user, history = _WHOM.user, _WHOM.history
  events = model.history(user, history, strict=_WHOM.strict)
  answer = model.recommend(
    user,
    history,
    _places(),
    request_time=_WHOM.request_time,
    strict=_WHOM.strict,
    **_filters(model.catalog),
  )
  shown = events.tail(_SHOW.value)
  whose = f"user {user}" if history is None else "the given list"
  print(f"\nHistory of {whose}: the last {len(shown)} of {len(events)} events")
  for row in shown.iter_rows(named=True):
    # As wide without a time, so that titles stay in a column.
    when = f"{to_the_minute(row['time']):16}  " if "time" in row else ""
    print(f"  {when}{_named(row)}")
  popular = len(answer) > 0 and answer["source"][0] == POPULAR
  print(
    f"\nRecommended next ({len(answer)} items"
    + (", the most popular ones" if popular else "")
    + ")"
  )
  for place, row in enumerate(answer.iter_rows(named=True), start=1):
    print(f"  {place:>3}  {row['score']:>9.4f}  {_named(row)}")


def _places() -> int:
  """Items per user: of a list that is written at once, its own at most."""
  return min(_K.value, _LIST_SIZE.value or _K.value)


def _filters(catalog: Catalog) -> dict[str, Any]:
  """What the flags say of the items that may be recommended."""
  allow = given.ids("allow", _ALLOW.value)
  deny = given.ids("deny", _DENY.value) or []
  given.note_unknown("allow", allow or [], catalog)
  given.note_unknown("deny", deny, catalog)
  where: dict[str, list[str]] = {}
  for text in _WHERE.value:
    name, equals, value = text.partition("=")
    if not (name and equals):
      raise ValueError(f"--where={text}: write ATTRIBUTE=VALUE.")
    where.setdefault(name, []).append(value)
  return {
    "allow": allow,
    "deny": deny,
    "where": where,
    "filter_history": None
    if _KEEP_SEEN.value is None
    else not _KEEP_SEEN.value,
  }


def _named(row: dict) -> str:
  if row["title"] and row["title"] != row["item_id"]:
    return f"{row['title']}  [{row['item_id']}]"
  return row["item_id"]


def write_all(model: Recommender, output: TableFile) -> None:
  """Writes everyone's recommendations, batch by batch, and says of whom."""
  # What an evaluation asks for knows less of each user than the data does.
  if output.keeps_facts and not _AS_OF.value:
    # A version that is served is a run as its config says.
    alone = model.trained is not None and _LIST_SIZE.value is None
    identity = model.trained.identity if alone else ""
    output.tell(ListFacts.of(model.histories, identity).texts())
  users, popular, last = 0, 0, None
  bar = tqdm(total=len(model.histories), unit="user", desc="recommend")
  lists = model.recommend_all(
    _places(),
    as_of=_AS_OF.value,
    titles=_TITLES.value,
    **_filters(model.catalog),
  )
  with output as file, bar:
    for table in lists:
      file.write(table)
      first = table.filter(pl.col("rank") == 1)
      if not len(first):
        continue
      # Several lists of one user may begin in one table and end in the next.
      new = first["user_id"].n_unique() - (first["user_id"][0] == last)
      last = first["user_id"][-1]
      users += new
      popular += (first["source"] == POPULAR).sum()
      bar.update(new)
  print(f"wrote {file.rows:,} rows of {users:,} users to {output.path}")
  if popular:
    print(f"{popular:,} of them have no events: they got popular items")
  missing = len(model.histories) - users
  if missing:
    reasons = ["have nothing left that may be recommended"]
    if _AS_OF.value:
      reasons.insert(0, f"have nothing withheld in the {_AS_OF.value} part")
    print(f"{missing:,} users are not in it: they {', or '.join(reasons)}")


@COMMAND.does
def main() -> None:
  """Entry point."""
  if sum((_WHOM.is_given, bool(_ALL.value), bool(_LIST.value))) != 1:
    raise UsageError(
      "give --user, --history or both, or --all-users, or --list-users"
    )
  if _ALL.value != (_OUTPUT.value is not None):
    raise UsageError("--all-users and --output belong together")
  if _AS_OF.value and not _ALL.value:
    raise UsageError("--as_of belongs to --all-users")
  _WITH.check()
  given.warnings_as_notes()
  if _LIST.value:
    users = Users(Run.open(_RUN.workdir).histories.directory)
    print("\n".join(users.ids[: _LIST.value]))
    return
  output = TableFile(_OUTPUT.value) if _ALL.value else None
  model = load(
    _RUN.workdir,
    retriever=_RETRIEVER.value,
    list_size=_LIST_SIZE.value,
    checkpoint=_RUN.checkpoint,
    ensemble=_WITH.ensemble,
    ranker=_WITH.ranker,
    num_candidates=_WITH.candidates,
    weights=_WITH.weights,
    assume=_WITH.assume,
  )
  if _ALL.value:
    write_all(model, output)
  else:
    print_one(model)
