# SPDX-License-Identifier: Apache-2.0
"""Measures the requests a second that a service bears.

    genrec bench serving --config=hstu_movielens:20m
    genrec bench serving --config=sasrec_movielens:20m --nohttp

A service with drawn weights, one request at a time and in batches, without and
with a cache, by the engine and over HTTP: capacity, multiples of it, recovery.
A table, and the JSON line. It needs the extra: pip install 'genrec_jax[serve]'.
docs/serving.md has the commands and what they gave.
"""

from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(COMMAND, events=200)
_NUM_USERS = COMMAND.integer("num_users", 1000, "Of the log; default: 1,000.")
_NUM_ITEMS = asked.num_items(COMMAND)
_CANDIDATES = COMMAND.integer(
  "candidates", 100, "Of a request to a ranker; default: 100.", lower_bound=1
)
_K = COMMAND.integer("k", 10, "Places of a list; default: 10.", lower_bound=1)
_SERVE_BATCH = COMMAND.integer(
  "serve_batch", 16, "The largest batch; default: 16."
)
_CACHE_MB = COMMAND.float("cache_mb", 1024.0, "Of the cache; default: 1,024.")
_ZIPF = COMMAND.float(
  "zipf", 1.0, "Exponent of the law of users' rates; default: 1."
)
_LOADS = COMMAND.list(
  "loads",
  ["0.5", "0.8", "1", "2", "3"],
  "Multiples of the capacity; default: 0.5,0.8,1,2,3.",
)
_SECONDS = COMMAND.float("seconds", 3.0, "Of each load; default: 3.")
_DEADLINE = COMMAND.integer("deadline_ms", 250, "Of requests; default: 250.")
_LIMIT = COMMAND.float(
  "limit_ms",
  100.0,
  "Of the 99th percentile, for the largest rate; default: 100.",
)
_HTTP = COMMAND.bool("http", True, "Over HTTP too.")
_WORKDIR = COMMAND.string("workdir", None, "Keep the run here.")


@COMMAND.does
def main() -> None:
  """Prints requests per second, and what becomes of too many."""
  try:
    from genrec_jax.bench.serving import table, time_serving
    from genrec_jax.bench.serving_load import ServingOptions
  except ImportError as error:
    raise ValueError(
      f"serving needs {error.name}: pip install 'genrec_jax[serve]'"
    ) from error

  config, _, events = _CONFIG.read()
  options = ServingOptions(
    num_users=_NUM_USERS.value,
    num_items=_NUM_ITEMS.value,
    events=events,
    candidates=_CANDIDATES.value,
    k=_K.value,
    batch=_SERVE_BATCH.value,
    cache_mb=_CACHE_MB.value,
    exponent=_ZIPF.value,
    loads=tuple(float(text) for text in _LOADS.value),
    seconds=_SECONDS.value,
    deadline_ms=_DEADLINE.value,
    limit_ms=_LIMIT.value,
    http=_HTTP.value,
  )
  result = time_serving(config, options, _WORKDIR.value)
  print(table(result))
  asked.print_line("serving", {"device": asked.device()} | result)
