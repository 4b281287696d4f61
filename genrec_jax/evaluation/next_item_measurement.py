# SPDX-License-Identifier: Apache-2.0
"""Everything that is measured of one trained run, on the same requests.

    validation, test   the model, each baseline, the oracle, with the history
                       hidden or not, as the evaluator's filter_history says
    test_unfiltered    the same the other way round: with the history among the
                       candidates (where it is hidden above), or
    test_filtered      with the history hidden (where it is not)
    test_last_time     the model asked at its last event's time plus the data
                       set's median gap, where the system uses times: the
                       other rows give it the time of the target itself, which
                       a service knows and a batch of yesterday's does not
                       (with request_time="last" it is the other way round,
                       and the extra row is test_target_time)

Baselines and oracle go through the same evaluate() as the model: same
candidates, same rule for ties. Baselines are built on the training part; what
they have to choose, they choose on validation.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Protocol, runtime_checkable

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.baselines.oracle import TrueModel
from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.requests import (
  Requests,
  count_requests,
  iter_requests,
)
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.simulator.world import TRUTH_FILE
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.full_ranking import (
  Evaluation,
  asked_at_last_event,
  evaluate,
)
from genrec_jax.experiment.experiment import Run

MODEL = "model"
SUFFIXES = ("", "_unfiltered", "_filtered", "_last_time", "_target_time")
REQUEST_TIMES = ("target", "last")


@runtime_checkable
class RankingOptions(Protocol):
  """What NextItem says of a measurement; see there."""

  filter_history: bool
  ks: tuple[int, ...]
  request_time: str


@dataclasses.dataclass(frozen=True)
class Measurement:
  """Evaluations of all rankers, by part and by name.

  Attributes:
    evaluations: {"validation" | "test": {NAME: Evaluation}}, where NAME is
      "model" or a baseline's, with a suffix for what was changed.
    notes: sentences that must stand next to the numbers.
  """

  evaluations: Mapping[str, Mapping[str, Evaluation]]
  notes: tuple[str, ...]

  def of(self, ranker: str) -> dict[str, Evaluation]:
    """Returns {"test": ..., "test_unfiltered": ..., ...} of one ranker."""
    return {
      part + suffix: by_name[ranker + suffix]
      for part, by_name in self.evaluations.items()
      for suffix in SUFFIXES
      if ranker + suffix in by_name
    }

  @property
  def parts(self) -> tuple[str, ...]:
    """Parts of the split, without suffixes."""
    return tuple(self.evaluations)

  @property
  def baselines(self) -> tuple[str, ...]:
    """The rankers that are not the model, without suffixes."""
    names = [
      n for n in self.evaluations["test"] if not n.endswith(SUFFIXES[1:])
    ]
    return tuple(name for name in names if name != MODEL)


def check_request_time(request_time: str) -> None:
  """Raises a ValueError for a time that nobody can be asked at."""
  if request_time not in REQUEST_TIMES:
    raise ValueError(
      f"request_time={request_time!r} is unknown; choices:"
      f" {', '.join(REQUEST_TIMES)}"
    )


def baseline_searches(
  run: Run, *, filter_history: bool
) -> tuple[dict[str, Search], list[str]]:
  """Returns the baselines' searches, the oracle's where known, and notes."""
  # Of one seed for all runs, which would else have baselines of their own.
  knn = ItemKNN.tune(run.histories, filter_history=filter_history, seed=0)
  found = {
    "most_popular": MostPopular(run.catalog.count).search,
    "item_knn": knn.search,
  }
  options = ", ".join(f"{key} {value}" for key, value in knn.options.items())
  notes = [f"item-kNN tuned on validation: {options}"]
  directory = pathlib.Path(run.histories.directory)
  # Damage is an error, and no reason to do without.
  run.histories.manifest.check_files(directory, [TRUTH_FILE])
  if (directory / TRUTH_FILE).is_file():
    try:
      found["oracle"] = TrueModel.from_directory(directory).search
      notes.append("the oracle is the simulator's own next-item probability")
    except ValueError as error:
      # Filtered histories, for one: the other figures are as good as ever.
      notes.append(f"no oracle: {error}")
  return found, notes


def measure(
  run: Run,
  search: Search,
  options: RankingOptions,
  *,
  with_baselines: bool = True,
) -> Measurement:
  """Evaluates the model on both parts, and with_baselines the baselines too.

  Args:
    run: whose data to use.
    search: the model.
    options: the evaluator's: cut-offs, filter and request time.
    with_baselines: also most popular, item-kNN and, on simulated data, the
      oracle.
  """
  others, notes = {}, []
  if with_baselines:
    others, notes = baseline_searches(
      run, filter_history=options.filter_history
    )
  hides = options.filter_history
  other_way = "unfiltered" if hides else "filtered"
  timed = run.system.uses_time
  moves = timed and options.request_time == "last"
  evaluations: dict[str, dict[str, Evaluation]] = {}
  for part in PARTS:
    total = count_requests(run.histories, part)

    def go(name, ranker, *, filtered=hides, last_time=False, part=part,
           total=total):  # fmt: skip
      evaluations.setdefault(part, {})[name] = evaluate(
        _asked_later(run, ranker) if last_time else ranker,
        iter_requests(run.histories, part, run.requests.batch_size),
        num_items=run.histories.manifest.num_items,
        ks=options.ks,
        filter_history=filtered,
        progress=f"{part} {name}",
        num_requests=total,
      )

    go(MODEL, search, last_time=moves)
    for name, ranker in others.items():
      go(name, ranker)
    if part != "test":
      continue  # Nothing is chosen by the variants: they are for the reader.
    go(f"{MODEL}_{other_way}", search, filtered=not hides, last_time=moves)
    for name, ranker in others.items():
      go(f"{name}_{other_way}", ranker, filtered=not hides)
    if timed:
      other = "target_time" if moves else "last_time"
      go(f"{MODEL}_{other}", search, last_time=not moves)
  notes += _repeat_notes(evaluations, hides) + _time_notes(timed, moves)
  return Measurement(evaluations, tuple(notes))


def _repeat_notes(
  evaluations: Mapping[str, Mapping[str, Evaluation]], hides: bool
) -> list[str]:
  share = float(evaluations["test"][MODEL].repeats_R.mean())
  if not hides:
    return [
      "the history is among the candidates (filter_history=False):"
      f" {share:.1%} of test targets repeat an item of it"
    ]
  if not share:
    return []
  return [
    f"{share:.1%} of test targets repeat an item of the history: with the"
    " history hidden no ranker can find them"
  ]


def _time_notes(timed: bool, moves: bool) -> list[str]:
  if not timed:
    return []
  if moves:
    return ["asked at the last event's time plus the median gap"]
  return [
    "the model is told the time of the target (request time known);"
    " test_last_time: asked at the last event's time plus the median gap"
  ]


def _asked_later(run: Run, ranker: Search) -> Search:
  """The ranker, which is not told the target's time."""
  gap = run.histories.manifest.median_gap_seconds or 0

  def search(requests: Requests, k: int, allowed: ItemMask | None):
    return ranker(asked_at_last_event(requests, gap), k, allowed)

  return search
