# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/results.md, in Markdown, made from finished runs.

One table per data set: baselines first, then our runs by config (mean and t
interval over seeds; with one seed the 95 % interval over users), then the
oracle where the true model is known, then what others published. Below it
stand the deviations of the published rows and how each run was made. What runs
add to other retrievers has tables of its own (report/retrieval/added.py). A
page holds the text between two markers, and `splice` puts it there.
"""

from collections.abc import Mapping, Sequence
import statistics

from genrec_jax.report.cells import OVER, cell, line
from genrec_jax.report.command import command
from genrec_jax.report.published import our_deviation, published_for
from genrec_jax.report.ranking.runs import RankerRun
from genrec_jax.report.ranking.tables import ranker_tables
from genrec_jax.report.retrieval.added import AddingRun, adding_tables
from genrec_jax.report.runs import (
  BASELINE_LABELS,
  LATER_NDCG,
  VARIANTS,
  Finished,
  RetrievalRun,
  Summary,
  baseline_summaries,
  by_config,
  by_dataset,
  later_day,
  summarize,
)

BEGIN = "<!-- results: made by scripts/report.py, do not edit -->"
END = "<!-- end of results -->"
METRICS = ("hr@10", "ndcg@10", LATER_NDCG, "hr@50", "hr@200")
NO_RESULTS = "No finished run yet: `results/` is empty."


def _row(
  label: str,
  summaries: Mapping[str, Summary],
  intervals: Mapping[str, Sequence[float]],
  note: str,
  metrics: Sequence[str],
) -> str:
  cells = [cell(summaries.get(m), intervals.get(m)) for m in metrics]
  return line([label, *cells, note])


def _shown(runs: Sequence[RetrievalRun]) -> list[str]:
  """Metrics of a table: those of METRICS that a run has."""
  later = any(later_day(run.slices, "test") for run in runs)
  return [name for name in METRICS if later or name != LATER_NDCG]


def _heading(metric: str) -> str:
  name, _, where = metric.partition(",")
  return name.upper() + ("," + where if where else "")


def _run_rows(runs: Sequence[RetrievalRun]) -> list[str]:
  rows, shown = [], _shown(runs)
  for config, seeds in by_config(runs).items():
    note = ", ".join(str(run.seed) for run in seeds)
    rows.append(
      _row(
        f"**{seeds[0].label}** `{config}`",
        summarize(
          {**run.metrics["test"], **later_day(run.slices, "test")}
          for run in seeds
        ),
        seeds[0].intervals.get("test", {}),
        f"seed {note}",
        shown,
      )
    )
    rows += [
      _row(
        f"{seeds[0].label}, {label}",
        summarize(run.metrics[part] for run in seeds),
        {},
        "same runs",
        shown,
      )
      for part, label in VARIANTS.items()
      if part not in ("test_unfiltered", "test_filtered")
      and all(part in run.metrics for run in seeds)
    ]
  return rows


def _baseline_rows(runs: Sequence[RetrievalRun]) -> tuple[list[str], list[str]]:
  """The rows of the baselines, and that of the oracle if there is one."""
  baselines, oracle = [], []
  shown = _shown(runs)
  for name, summaries in baseline_summaries(runs).items():
    is_oracle = name == "oracle"
    row = _row(
      BASELINE_LABELS.get(name, name),
      summaries,
      {},
      "oracle" if is_oracle else "baseline",
      shown,
    )
    (oracle if is_oracle else baselines).append(row)
  return baselines, oracle


def dataset_table(heading: str, runs: Sequence[RetrievalRun]) -> str:
  """The table of one data set and the notes to its published rows."""
  baselines, oracle = _baseline_rows(runs)
  shown = _shown(runs)
  lines = [
    f"### {heading}",
    "",
    line(["", *(_heading(metric) for metric in shown), "from"]),
    line(["---", *("---:" for _ in shown), "---"]),
    *baselines,
    *_run_rows(runs),
    *oracle,
  ]
  notes: dict[str, int] = {}
  for row in published_for(runs[0].dataset):
    number = notes.setdefault(f"{row.source}: {row.setup}.", len(notes) + 1)
    summaries = {m: Summary(v, None, 1) for m, v in row.metrics.items()}
    lines.append(
      _row(f"*{row.system}*", summaries, {}, f"published [{number}]", shown)
    )
  if notes:
    ours = our_deviation(runs[0].dataset)
    lines += ["", f"Published, not measured here{ours and '; ' + ours}:", ""]
    lines += [f"{number}. {note}" for note, number in notes.items()]
  return "\n".join(lines)


def _commands(seeds: Sequence[Finished]) -> list[str]:
  """The different commands of a config's runs, fit for a Markdown cell."""
  lines = dict.fromkeys(command(run) for run in seeds)
  return [line.replace("|", "\\|") for line in lines]


def runs_table(runs: Sequence[Finished]) -> str:
  """How each row was made: command, parameters, device, time, date, commit."""
  header = [
    "`genrec train --workdir=... --config.seed=...` and",
    "parameters",
    "device",
    "training",
    "date",
    "commit",
  ]
  lines = [line(header), line(["---", "---:", "---", "---:", "---", "---"])]
  for seeds in by_config(runs).values():
    minutes = statistics.fmean(run.train_seconds for run in seeds) / 60
    last = max(seeds, key=lambda run: run.date)
    lines.append(
      line(
        [
          "<br>".join(f"`{line}`" for line in _commands(seeds)),
          f"{last.parameters:,}",
          last.device,
          f"{minutes:.0f} min",
          last.date[:10],
          f"`{last.commit[:10]}`{' + changes' if last.dirty else ''}",
        ]
      )
    )
  return "\n".join(lines)


def results_markdown(
  runs: Sequence[RetrievalRun],
  rankers: Sequence[RankerRun] = (),
  adding: Sequence[AddingRun] = (),
) -> str:
  """Everything that stands between the markers of docs/results.md."""
  if not (runs or rankers or adding):
    return NO_RESULTS
  tables = [
    dataset_table(heading, group) for heading, group in by_dataset(runs).items()
  ]
  legend = (
    "Full ranking of the whole catalogue, the history hidden from the"
    f" candidates, ties counted against the model. {OVER}"
  )
  # A run that was measured in several ways has a row in each table, and was
  # made once.
  once: list[Finished] = []
  for kind in (runs, rankers, adding):
    known = {run.config for run in once}
    once += [run for run in kind if run.config not in known]
  made = ["### How they were made", runs_table(once)]
  shown = [legend, *tables] if runs else []
  shown += adding_tables(adding)
  return "\n\n".join([*shown, *ranker_tables(rankers), *made])


def splice(page: str, body: str) -> str:
  """Puts `body` between the markers of a text; ValueError without them."""
  if page.count(BEGIN) != 1 or page.count(END) != 1:
    raise ValueError(
      f"the text needs the lines {BEGIN!r} and {END!r}, once each, to hold the"
      " results"
    )
  before, rest = page.split(BEGIN)
  after = rest.split(END)[1]
  return f"{before}{BEGIN}\n\n{body}\n\n{END}{after}"
