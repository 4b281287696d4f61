# SPDX-License-Identifier: Apache-2.0
"""What one user is recommended in June and in December, as a plot.

    lists_of   the two lists, of a model that reads the time of the request
    slopes     one list on each side; lines join what is in both
    plots_of   the plot of a page; none where no time is read

The history is the same, its events are further back in the later of the two. A
model that knows the calendar may say that Christmas comes; one that knows
differences of times alone, only that nobody has been here for long.
"""

from collections.abc import Sequence
import dataclasses
import datetime
import warnings

from matplotlib import rc_context
from matplotlib.figure import Figure

from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.report.document import Plot
from genrec_jax.report.figures import INK, MODEL, MUTED, STYLE, svg_of
from genrec_jax.serving.recommender import Recommender

_ONE_ONLY = "#d08a2e"
_LONGEST_TITLE = 44
# Day and hour of the months, UTC.
_DAY, _HOUR = 15, 12
_MONTHS = {"June": 6, "December": 12}


@dataclasses.dataclass(frozen=True)
class SeasonList:
  """What is recommended at a moment.

  Attributes:
    month: its name.
    asked: the moment, UTC.
    items: ids, best first.
    titles: of these.
  """

  month: str
  asked: datetime.datetime
  items: Sequence[str]
  titles: Sequence[str]


def next_month(after: datetime.datetime, month: int) -> datetime.datetime:
  """Noon of the 15th of a month, the first one behind a moment."""
  found = after.replace(
    month=month, day=_DAY, hour=_HOUR, minute=0, second=0, microsecond=0
  )
  return found if found > after else found.replace(year=found.year + 1)


def lists_of(
  model: Recommender, user: str | None = None, k: int = 10
) -> tuple[SeasonList, SeasonList] | None:
  """June's and December's list, each asked when that month comes next.

  Args:
    model: of a trained run.
    user: id; by default the first one.
    k: items of a list; fewer where fewer are left.

  Returns:
    None where the model does not read the time of the request, or no time of
    the user is known.
  """
  if model.trained is None or not model.trained.run.system.uses_time:
    return None
  user = model.users.ids[0] if user is None else user
  time = int(model.record(user=user)["time"][-1])
  if time == UNKNOWN_TIME:
    return None
  epoch = model.histories.manifest.epoch_seconds or 0
  last = datetime.datetime.fromtimestamp(epoch + time, datetime.UTC)
  found = []
  for name, month in _MONTHS.items():
    asked = next_month(last, month)
    with warnings.catch_warnings():
      # The plot shows itself where there are fewer.
      warnings.simplefilter("ignore", UserWarning)
      answer = model.recommend(
        user=user, k=k, request_time=int(asked.timestamp())
      )
    items, titles = (answer[x].to_list() for x in ("item_id", "title"))
    found.append(SeasonList(name, asked, items, titles))
  return found[0], found[1]


def slopes(left: SeasonList, right: SeasonList) -> str:
  """Two lists side by side, the best on top."""
  both = {*left.items} & {*right.items}
  with rc_context(STYLE):
    figure = Figure(figsize=(11.2, 4.2))
    axes = figure.add_subplot()
    axes.set_title("Asked in June and in December")
    axes.set_axis_off()
    for found, x, side in ((left, 0.0, "right"), (right, 1.0, "left")):
      color = {left.month: _ONE_ONLY, right.month: MODEL}[found.month]
      away = -0.03 if side == "right" else 0.03
      axes.text(x, 0, found.month, ha="center", va="bottom", weight="bold")
      for place, (item, title) in enumerate(
        zip(found.items, found.titles, strict=True), 1
      ):
        axes.text(
          *(x + away, place, _short(title)),
          color=INK if item in both else color,
          ha=side,
          va="center",
          # A title may hold a dollar.
          parse_math=False,
        )
        axes.plot(x, place, marker="o", color=MUTED if item in both else color)
    for item in both:
      ends = [1 + list(found.items).index(item) for found in (left, right)]
      axes.plot((0.0, 1.0), ends, color=MUTED, linewidth=1.2)
    longest = max(len(left.items), len(right.items))
    axes.set_ylim(longest + 0.6, -0.8)
    axes.set_xlim(-1.3, 2.3)
  return svg_of(figure, "Asked in June and in December")


def _short(title: str) -> str:
  if len(title) <= _LONGEST_TITLE:
    return title
  return title[: _LONGEST_TITLE - 3] + "..."


def plots_of(model: Recommender, user: str | None = None) -> list[Plot]:
  """The plot and what stands under it; none where no time is read."""
  found = lists_of(model, user)
  if found is None:
    return []
  left, right = found
  shared = len({*left.items} & {*right.items})
  return [
    Plot(
      slopes(left, right),
      f"The first {len(left.items)} items for one user with one history, asked"
      f" on {left.asked:%Y-%m-%d} and on {right.asked:%Y-%m-%d}; lines join the"
      f" {shared} that are in both lists.",
      wide=True,
    )
  ]
