# SPDX-License-Identifier: Apache-2.0
"""Serves a trained run over HTTP: lists, scores, events, versions, metrics.

    genrec serve --workdir=runs/a
    genrec serve --workdir=runs/a --ranker=runs/b --candidates=100
    genrec serve --workdir=runs/a --ready_lists=lists.parquet --cache_mb=512
    genrec serve --workdir=runs/a --host=0.0.0.0 --port=8000 --admin_port=9000

    curl localhost:8000/v1/recommend -H 'Content-Type: application/json' \\
        -d '{"user_id": "42", "k": 10}'

It needs the extra: pip install 'genrec_jax[serve]'. It listens at once and is
ready (/health/ready) once the model is compiled for all sizes that it will
meet, and has given what genrec recommend gives for some users. / shows one
user, /docs all routes, docs/serving.md what they mean. Events go to --store, a
file of its own, WORKDIR/events.sqlite by default. Routes of operators (models,
items, users, metrics, the page) are on --admin_port, on this machine alone;
without it they are on --port, which then has to be of this machine too. SIGTERM
ends it once all that was accepted is answered. A flag's name may be written
with - or with _.
"""

import pathlib
import signal

from genrec_jax.cli import given
from genrec_jax.cli.asked import RunFlags
from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError
from genrec_jax.experiment.searches import RETRIEVERS

COMMAND = Command(__doc__)
_RUN = RunFlags(COMMAND)
_RANKER = COMMAND.string(
  "ranker", None, "Folder of a trained ranker that orders what is found."
)
_CANDIDATES = COMMAND.integer(
  "candidates", 100, "Items that are found for --ranker.", lower_bound=1
)
_WEIGHTS = COMMAND.string(
  "weights", "", "Of --ranker's value, as click=1,like=10."
)
_RETRIEVER = COMMAND.enum(
  "retriever",
  None,
  list(RETRIEVERS),
  "Exact, or approximate, for systems of vectors; the default is exact.",
)
_PRE_RANKER = COMMAND.string(
  "pre_ranker",
  None,
  "Folder of a trained ranker that orders what is found for --ranker.",
)
_PRE_CANDIDATES = COMMAND.integer(
  "pre_candidates",
  500,
  "Items that are found for --pre_ranker.",
  lower_bound=1,
)
_BUNDLE = COMMAND.string(
  "bundle",
  None,
  "Folder of genrec export, whose golden answers must be given as well.",
)
_NAME = COMMAND.string("name", "v1", "Of the version, in answers.")
_HOST = COMMAND.string("host", "127.0.0.1", "Address to listen on.")
_PORT = COMMAND.integer(
  "port", 8000, "0 takes one that is free, and says which.", lower_bound=0
)
_ADMIN_PORT = COMMAND.integer(
  "admin_port", None, "Of operators, on 127.0.0.1.", lower_bound=0
)
_STORE = COMMAND.string("store", None, "SQLite file of events.")
_BATCHES = COMMAND.list(
  "batches", ["1", "2", "4", "8", "16"], "Sizes of batches to compile for."
)
_LISTS = COMMAND.list(
  "lists", ["16", "64", "256"], "Lengths of lists; the last is the longest."
)
_MICRO_BATCH = COMMAND.integer(
  "micro_batch",
  256,
  "Candidates that a ranker scores at a time.",
  lower_bound=1,
)
_QUEUE = COMMAND.integer(
  "max_queue", 256, "Requests that wait at most.", lower_bound=1
)
_WAIT = COMMAND.float(
  "max_wait_ms", 2.0, "A batch that is not full waits so long.", lower_bound=0.0
)
_DEADLINE = COMMAND.float(
  "deadline_ms", 1000.0, "Of requests that name none.", lower_bound=1.0
)
_GOLDEN = COMMAND.integer(
  "golden",
  8,
  "Users whose lists must be those of genrec recommend, or it is not taken.",
  lower_bound=0,
)
_QUOTA = COMMAND.float(
  "quota", 0.0, "Requests of a caller a second; 0 = any.", lower_bound=0.0
)
_CACHE = COMMAND.float(
  "cache_mb",
  0.0,
  "Device memory for what each version has computed of histories; 0 = none.",
  lower_bound=0.0,
)
_READY = COMMAND.string(
  "ready_lists",
  None,
  "Parquet file of genrec recommend --all-users, which answers first.",
)
_READY_HOURS = COMMAND.float(
  "ready_hours", 24.0, "Lists older than that do not; 0 = any.", lower_bound=0.0
)
_DRAIN = COMMAND.float(
  "drain_seconds", 30.0, "For what was accepted before the end."
)
COMMAND.require("workdir")
# Flags that say something of what another one names.
_OF = {
  "candidates": "ranker",
  "weights": "ranker",
  "pre_ranker": "ranker",
  "pre_candidates": "pre_ranker",
  "ready_hours": "ready_lists",
}
_EXTRA = ("fastapi", "prometheus_client", "pydantic", "uvicorn")


def _check_flags() -> None:
  """Raises a UsageError for flags of what is not there."""
  for name, owner in _OF.items():
    if COMMAND.is_given(name) and not COMMAND.values[owner].value:
      raise UsageError(f"--{name} belongs to --{owner}")


def _check_extra() -> None:
  """Raises a ValueError where the extra is not installed."""
  try:
    for name in _EXTRA:
      __import__(name)
  except ImportError as error:
    raise ValueError(
      f"genrec serve needs {error.name}: pip install 'genrec_jax[serve]'"
    ) from error


def _sizes(name: str, texts: list[str]) -> tuple[int, ...]:
  try:
    return tuple(int(text) for text in texts)
  except ValueError:
    raise ValueError(
      f"--{name}={','.join(texts)} must be whole numbers, such as 1,4,16."
    ) from None


@COMMAND.does
def main() -> None:
  """Entry point."""
  _check_flags()
  _check_extra()
  # They need the extra.
  from genrec_jax.service.engine import EngineOptions
  from genrec_jax.service.made_ahead import ReadyOptions
  from genrec_jax.service.opening import Source
  from genrec_jax.service.paged_cache import PagedCache
  from genrec_jax.service.paged_reader import PagedOptions
  from genrec_jax.service.process import Listening, serve
  from genrec_jax.service.ready_lists import ListFile
  from genrec_jax.service.service import Service, ServiceOptions
  from genrec_jax.service.shapes import Shapes
  from genrec_jax.service.sqlite_store import SqliteStore

  given.warnings_as_notes()
  listening = Listening(
    host=_HOST.value,
    port=_PORT.value,
    admin_port=_ADMIN_PORT.value,
    quota_per_second=_QUOTA.value,
    drain_seconds=_DRAIN.value,
  )
  shapes = Shapes(
    batches=_sizes("batches", _BATCHES.value),
    lists=_sizes("lists", _LISTS.value),
    micro_batch=_MICRO_BATCH.value,
  )
  source = Source(
    workdir=_RUN.workdir,
    ranker=_RANKER.value,
    retriever=_RETRIEVER.value,
    checkpoint=_RUN.checkpoint,
    num_candidates=_CANDIDATES.value,
    weights=_WEIGHTS.value,
    pre_ranker=_PRE_RANKER.value,
    num_pre_candidates=_PRE_CANDIDATES.value,
    bundle=_BUNDLE.value,
  )
  cache = None
  if _CACHE.value:
    cache = PagedCache(PagedOptions(_CACHE.value), shapes)
  store = _STORE.value or pathlib.Path(_RUN.workdir) / "events.sqlite"
  service = Service(
    SqliteStore(store),
    options=ServiceOptions(
      deadline_seconds=_DEADLINE.value / 1000,
      num_golden=_GOLDEN.value,
      ready=ReadyOptions(_READY_HOURS.value * 3600),
    ),
    engine=EngineOptions(
      max_queue=_QUEUE.value, max_wait_seconds=_WAIT.value / 1000
    ),
    shapes=shapes,
    cache=cache,
    ready=None if _READY.value is None else ListFile(_READY.value),
  )
  number = serve(service, _NAME.value, source, listening)
  if number == signal.SIGINT:
    raise KeyboardInterrupt
  # What was to be done is done; no thread of a library is waited for.
  raise SystemExit(0)
