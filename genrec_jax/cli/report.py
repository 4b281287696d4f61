# SPDX-License-Identifier: Apache-2.0
"""Writes what people look at: the page of one run, or the tables of results.

    genrec report --workdir=WORKDIR

WORKDIR/report.html: a part of each evaluator, one HTML file that needs no
network.

    genrec report --results=results --readme=README.md \\
        --tables=docs/results.md [--check]

The README's table, that of every run, and results/overview.svg, from
results/<config>/<seed>.json; either page may be left out. With --check nothing
is written, and the exit status is 1 where a page differs.
"""

from collections.abc import Callable, Mapping
import pathlib

from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import FAILED, UsageError
from genrec_jax.core.atomic import write_text
from genrec_jax.report import tables
from genrec_jax.report.overview import overview_svg
from genrec_jax.report.ranking.runs import read_ranker_runs
from genrec_jax.report.retrieval.added import read_adding_runs
from genrec_jax.report.runs import read_runs
from genrec_jax.report.summary import summary_markdown

COMMAND = Command(__doc__)
_WORKDIR = COMMAND.string("workdir", None, "Folder of one finished run.")
_USER = COMMAND.string(
  "user", None, "Id of the user of the example; default: the first one."
)
_REQUIRE_WIN = COMMAND.bool(
  "require_win",
  False,
  "Exit 1 where the run does not beat its best baseline in all that it does.",
)
_RESULTS = COMMAND.string("results", None, "Folder of finished runs.")
_README = COMMAND.string("readme", None, "File of a line per data set.")
_TABLES = COMMAND.string("tables", None, "File of a line per config.")
_CHECK = COMMAND.bool(
  "check", False, "Write nothing; exit 1 where a page differs."
)


def summary_of(results: pathlib.Path) -> str:
  """What the README says of a folder of results."""
  return summary_markdown(read_runs(results), read_ranker_runs(results))


def tables_of(results: pathlib.Path) -> str:
  """What docs/results.md says of it."""
  return tables.results_markdown(
    read_runs(results), read_ranker_runs(results), read_adding_runs(results)
  )


def update_pages(
  results: pathlib.Path,
  pages: Mapping[pathlib.Path, Callable[[], str]],
  check: bool,
) -> list[pathlib.Path]:
  """Brings pages and picture up to date; returns the pages that were not."""
  runs = read_runs(results)
  stale = []
  for path, body in pages.items():
    old = path.read_text(encoding="utf-8")
    new = tables.splice(old, body())
    if old != new:
      stale.append(path)
    if not check:
      write_text(path, new)
  if runs and not check:
    write_text(results / "overview.svg", overview_svg(runs))
  return stale


def report_run(workdir: pathlib.Path) -> int:
  """Writes the page of a workdir, says its verdicts; the exit status."""
  # Only this form needs the model, and with it JAX.
  from genrec_jax.report.page import page_of

  path = workdir / "report.html"
  html, said = page_of(workdir, _USER.value)
  write_text(path, html)
  print(*(one.text for one in said), f"wrote {path}", sep="\n")
  return FAILED if _REQUIRE_WIN.value and not all(x.won for x in said) else 0


def report_results(results: pathlib.Path) -> int:
  """Writes the pages of finished runs, or compares them; the exit status."""
  made = {
    _README.value: lambda: summary_of(results),
    _TABLES.value: lambda: tables_of(results),
  }
  pages = {pathlib.Path(path): body for path, body in made.items() if path}
  stale = update_pages(results, pages, _CHECK.value)
  if not (_CHECK.value and stale):
    return 0
  print(
    f"{', '.join(map(str, stale))}: not what is in {results}. Run genrec report"
    " without --check"
  )
  return FAILED


@COMMAND.does
def main() -> int:
  """Entry point."""
  if (_WORKDIR.value is None) == (_RESULTS.value is None):
    raise UsageError("give either --workdir, or --results and a page")
  if _RESULTS.value is not None and not (_README.value or _TABLES.value):
    raise UsageError("--results needs --readme or --tables")
  if _WORKDIR.value is not None:
    return report_run(pathlib.Path(_WORKDIR.value))
  return report_results(pathlib.Path(_RESULTS.value))
