# SPDX-License-Identifier: Apache-2.0
"""Recommendations of a trained run: for a user, a list of items, or everyone.

    python scripts/recommend.py --workdir=runs/a --user=42 --k=10
    python scripts/recommend.py --workdir=runs/a --history=50,181,172
    python scripts/recommend.py --workdir=runs/a --all-users \
        --output=recs.parquet
    python scripts/recommend.py --workdir=runs/a --list_users=5
    python scripts/recommend.py --workdir=runs/a --user=42 --ranker=runs/b \
        --candidates=100 --weights=click=1,like=10

With --ranker, what the first model finds is ordered by what the user would do
with it, by a second (scripts/rank.py) on the same data, or by the same one if
it does both. Seen items are left out unless --keep-seen is given. --all-users
writes columns user_id, rank, item_id, score, title; the file appears when it is
complete. A flag's name may be written with - or with _.
"""

import pathlib

from absl import app, flags, logging
import polars as pl
import pyarrow.parquet as pq
from tqdm import tqdm

from genrec_jax.core import atomic
from genrec_jax.core.flag_names import parse_flags
from genrec_jax.data.dataset.catalog import Users
from genrec_jax.data.times import to_the_minute
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import CHECKPOINTS
from genrec_jax.experiment.searches import RETRIEVERS
from genrec_jax.serving.recommender import Recommender, load

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a trained run.")
_USER = flags.DEFINE_string("user", None, "Id of a user of the data set.")
_HISTORY = flags.DEFINE_list("history", None, "Item ids, oldest first.")
_ALL = flags.DEFINE_bool("all_users", False, "Every user, into --output.")
_LIST = flags.DEFINE_integer("list_users", 0, "Print this many user ids.")
_OUTPUT = flags.DEFINE_string("output", None, "Parquet file of --all-users.")
_K = flags.DEFINE_integer("k", 10, "Items per user.", lower_bound=1)
_TIME = flags.DEFINE_integer(
  "request_time",
  None,
  "Unix seconds at which is asked; default: the last event and a median gap.",
)
_KEEP_SEEN = flags.DEFINE_bool("keep_seen", False, "Do not hide seen items.")
_SHOW = flags.DEFINE_integer("show_events", 10, "Last events printed.")
_RETRIEVER = flags.DEFINE_enum(
  "retriever",
  None,
  list(RETRIEVERS),
  "Exact, or approximate, for systems of vectors; the default is exact.",
)
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint", "best", list(CHECKPOINTS), "Best on validation, or the latest."
)
_RANKER = flags.DEFINE_string(
  "ranker", None, "Folder of a trained ranker that orders what is found."
)
_CANDIDATES = flags.DEFINE_integer(
  "candidates", 100, "Items that are found for --ranker.", lower_bound=1
)
_WEIGHTS = flags.DEFINE_string(
  "weights", "", "Of --ranker's value, as click=1,like=10."
)
flags.mark_flag_as_required("workdir")


def print_one(model: Recommender) -> None:
  """Prints the history of one user and what follows from it."""
  user, history = _USER.value, _HISTORY.value
  events = model.history(user, history)
  answer = model.recommend(
    user,
    history,
    _K.value,
    filter_history=not _KEEP_SEEN.value,
    request_time=_TIME.value,
  )
  shown = events.tail(_SHOW.value)
  whose = "the given list" if user is None else f"user {user}"
  print(f"\nHistory of {whose}: the last {len(shown)} of {len(events)} events")
  for row in shown.iter_rows(named=True):
    # As wide without a time, so that titles stay in a column.
    when = f"{to_the_minute(row['time']):16}  " if "time" in row else ""
    print(f"  {when}{_named(row)}")
  print(f"\nRecommended next ({len(answer)} items)")
  for place, row in enumerate(answer.iter_rows(named=True), start=1):
    print(f"  {place:>3}  {row['score']:>9.4f}  {_named(row)}")


def _named(row: dict) -> str:
  if row["title"] and row["title"] != row["item_id"]:
    return f"{row['title']}  [{row['item_id']}]"
  return row["item_id"]


def write_all(model: Recommender, output: pathlib.Path) -> int:
  """Writes everyone's recommendations, batch by batch; returns the rows."""
  writer, rows = None, 0
  bar = tqdm(total=len(model.histories), unit="user", desc="recommend")
  with atomic.replacing(output) as temporary, bar:
    for table in model.recommend_all(
      _K.value, filter_history=not _KEEP_SEEN.value
    ):
      arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
      if writer is None:
        writer = pq.ParquetWriter(temporary, arrow.schema)
      writer.write_table(arrow)
      rows += len(table)
      bar.update(table["user_id"].n_unique())
    if writer is None:
      raise ValueError("no user has an event: there is nothing to write")
    writer.close()
  return rows


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  wanted = (_USER.value, _HISTORY.value, _ALL.value, _LIST.value)
  if sum(bool(value) for value in wanted) != 1:
    raise app.UsageError(
      "give one of --user, --history, --all-users and --list-users"
    )
  if _ALL.value != (_OUTPUT.value is not None):
    raise app.UsageError("--all-users and --output belong together")
  for name in ("weights", "candidates"):
    if flags.FLAGS[name].present and not _RANKER.value:
      raise app.UsageError(f"--{name} belong to --ranker")
  logging.set_verbosity(logging.WARNING)
  try:
    if _LIST.value:
      users = Users(Run.open(_WORKDIR.value).histories.directory)
      print("\n".join(users.ids[: _LIST.value]))
      return
    model = load(
      _WORKDIR.value,
      retriever=_RETRIEVER.value,
      checkpoint=_CHECKPOINT.value,
      ranker=_RANKER.value,
      num_candidates=_CANDIDATES.value,
      weights=_WEIGHTS.value,
    )
    if _ALL.value:
      path = pathlib.Path(_OUTPUT.value)
      print(f"wrote {write_all(model, path):,} rows to {path}")
    else:
      print_one(model)
  except (ValueError, OSError) as error:
    # A wrong id or folder: the message says it all, a traceback hides it.
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
