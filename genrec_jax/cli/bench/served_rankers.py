# SPDX-License-Identifier: Apache-2.0
"""Times rankers of long histories as they are served.

    genrec bench served_rankers --events=512 [--json]
    genrec bench served_rankers --config=longer_kuairand --candidates=100

Candidates per second behind one user, by what is kept of the history, by the
history anew, and one by one: of three rankers, or of that of --config. A table,
or with --json one line.
"""

from genrec_jax.bench.served_rankers import table, time_served_rankers
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command
from genrec_jax.cli.config_flag import load_config
from genrec_jax.experiment.sections import check_config

COMMAND = Command(__doc__)
_CONFIG = COMMAND.config_file("A ranker; default: three of them.")
_NUM_ITEMS = asked.num_items(COMMAND)
_EVENTS = COMMAND.integer(
  "events", 512, "Of the history; default: 512.", lower_bound=1
)
_CANDIDATES = COMMAND.integer(
  "candidates", None, "How many; default: 64 and then 512."
)
_STEPS = asked.steps(COMMAND)
_JSON = COMMAND.bool("json", False, "One JSON line instead of a table.")
# By the name that the table shows.
_SHIPPED = {
  "LONGER": "longer_kuairand",
  "LinkedIn": "linkedin_kuairand",
  "HSTU": "hstu_ranking_kuairand",
}
_COUNTS = (64, 512)


@COMMAND.does
def main() -> None:
  """Prints candidates per second behind one user."""
  if _CONFIG.argument is None:
    configs = {
      title: check_config(load_config(name)) for title, name in _SHIPPED.items()
    }
  else:
    config = check_config(_CONFIG.value)
    configs = {config["title"]: config}
  counts = _COUNTS if _CANDIDATES.value is None else (_CANDIDATES.value,)
  result = time_served_rankers(
    configs,
    events=_EVENTS.value,
    candidates=counts,
    num_items=_NUM_ITEMS.value,
    repeats=_STEPS.value,
  )
  if _JSON.value:
    asked.print_line("served_rankers", {"device": asked.device()} | result)
  else:
    print(table(result))
