# SPDX-License-Identifier: Apache-2.0
"""What a user would do with given items, by a trained ranker.

    python scripts/rank.py --workdir=runs/a --user=42 --candidates=50,181,172
    python scripts/rank.py --workdir=runs/a --user=42 --candidates=items.txt \
        --weights=click=1,like=10 --output=ranked.parquet

--candidates is a list of item ids or a file with one id a line. Without --user
it is somebody of whom nothing is known. The value that orders the items is the
sum of weight x probability; without --weights, of all tasks alike.
A flag's name may be written with - or with _.
"""

import pathlib

from absl import app, flags, logging

from genrec_jax.core import atomic
from genrec_jax.core.flag_names import parse_flags
from genrec_jax.ranking import load_ranker
from genrec_jax.train.restored import CHECKPOINTS

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a trained run.")
_USER = flags.DEFINE_string("user", None, "Id of a user of the data set.")
_CANDIDATES = flags.DEFINE_string(
  "candidates", None, "Item ids with commas between, or a file of them."
)
_WEIGHTS = flags.DEFINE_string("weights", "", "As click=1,like=10.")
_OUTPUT = flags.DEFINE_string("output", None, "Parquet file for the table.")
_K = flags.DEFINE_integer("k", 20, "Rows that are printed.", lower_bound=1)
_TIME = flags.DEFINE_integer(
  "request_time",
  None,
  "Unix seconds at which is asked; default: the last event and a median gap.",
)
_MICRO_BATCH = flags.DEFINE_integer(
  "micro_batch", 256, "Candidates scored at a time.", lower_bound=1
)
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint", "best", list(CHECKPOINTS), "Best on validation, or the latest."
)
flags.mark_flags_as_required(["workdir", "candidates"])


def read_candidates(text: str) -> list[str]:
  """Ids of a list with commas, or of the lines of a file of that name."""
  path = pathlib.Path(text)
  # A list of ids may be longer than any name of a file.
  if len(text) < 1000 and path.is_file():
    lines = path.read_text(encoding="utf-8").splitlines()
  else:
    lines = text.split(",")
  return [line.strip() for line in lines if line.strip()]


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  try:
    ranker = load_ranker(
      _WORKDIR.value,
      checkpoint=_CHECKPOINT.value,
      micro_batch=_MICRO_BATCH.value,
    )
    table = ranker.rank(
      read_candidates(_CANDIDATES.value),
      _USER.value,
      weights=_WEIGHTS.value,
      request_time=_TIME.value,
    )
  except ValueError as error:
    # A wrong id or folder: the message says it all, a traceback hides it.
    raise SystemExit(f"error: {error}") from error
  if _OUTPUT.value:
    with atomic.replacing(pathlib.Path(_OUTPUT.value)) as temporary:
      table.write_parquet(temporary)
  heads = "".join(f"{task:>12}" for task in ranker.tasks)
  print(f"{'':>4}{'value':>10}{heads}  item")
  for place, row in enumerate(table.head(_K.value).iter_rows(named=True), 1):
    numbers = "".join(f"{row[task]:>12.4f}" for task in ranker.tasks)
    title = "" if row["title"] in ("", row["item_id"]) else row["title"] + "  "
    print(f"{place:>4}{row['value']:>10.4f}{numbers}  {title}{row['item_id']}")


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
