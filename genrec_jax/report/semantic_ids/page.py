# SPDX-License-Identifier: Apache-2.0
"""The quality of item tokens as one HTML file that needs nothing else.

In reading order: one sentence of verdict, the figures that decide, what each
level and each prefix depth holds, before and after the uniqueness rule, plots,
what prefixes mean by example, and where the codes come from. Numbers are those
of semantic_ids/quality.py; the style is page.css; what comes from data is
escaped.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from html import escape
from importlib import resources
import json
from typing import Any

from genrec_jax.report.document import Plot
from genrec_jax.report.semantic_ids import figures as token_figures


@dataclasses.dataclass(frozen=True)
class Group:
  """Items that share a prefix: its codes, how many, some of their titles."""

  prefix: Sequence[int]
  items: int
  titles: Sequence[str]


def render(
  report: Mapping[str, Any],
  groups: Sequence[Group],
  facts: Mapping[str, str],
) -> str:
  """The whole page.

  Args:
    report: of the table's codes; under "before_rule" that of the tokenizer's
      own codes, under "name" what to call the table.
    groups: examples.
    facts: where the codes come from.
  """
  css = resources.files("genrec_jax.report").joinpath("page.css").read_text()
  title = escape(f"Item tokens · {report['name']}")
  examples = f"<h2>What prefixes mean</h2>{_groups(groups)}" if groups else ""
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">genrec_jax, before any training</p>
<h1>{title}</h1>
<p class="verdict">{_verdict(report)}</p>
</header>
{_tiles(report)}
<h2>Levels</h2>
{_levels(report)}
<h2>Prefixes</h2>
{_depths(report)}
<h2>In detail</h2>
{_figures(report)}
{examples}
<h2>Where the codes come from</h2>
<div class="card">
<dl>{_facts(facts)}</dl>
<details><summary>All figures</summary>
<pre>{escape(json.dumps(_short(report), indent=2))}</pre>
</details>
</div>
</main>
</body>
</html>
"""


def verdict(report: Mapping[str, Any]) -> tuple[str, str, str, bool]:
  """Text before, the point, text after, and whether it is good news."""
  last = report["depths"][-1]
  before = report.get("before_rule", report)
  worst = min(before["levels"], key=lambda level: level["used_share"])
  place = before["levels"].index(worst) + 1
  sharing = last["items_sharing"]
  point = (
    "every item has codes of its own"
    if not sharing
    else f"{sharing:,} items share all codes with another"
  )
  after = (
    f"; the tokenizer alone tells {before['unique']:.1%} of them apart. Its"
    f" least used level, {place}, uses {worst['used']:,} of"
    f" {worst['size']:,} codes."
  )
  good = not sharing and worst["used_share"] > 0.9
  return f"Of {report['items']:,} items ", point, after, good


def _verdict(report: Mapping[str, Any]) -> str:
  before, point, after, good = verdict(report)
  kind = "won" if good else "lost"
  return (
    f'{escape(before)}<strong class="{kind}">{escape(point)}</strong>'
    f"{escape(after)}"
  )


def _tiles(report: Mapping[str, Any]) -> str:
  before = report.get("before_rule", report)
  least = min(level["used_share"] for level in before["levels"])
  tiles = [
    (f"{report['unique']:.2%}", "distinct codes per item"),
    (f"{before['unique']:.2%}", "before the uniqueness rule"),
    (f"{least:.0%}", "of the least used level's codes taken"),
  ]
  near = report.get("neighbours", {})
  if "recall_prefix" in near:
    tiles.append(
      (
        f"{near['recall_prefix']:.1%}",
        f"of the {near['k']} nearest items are nearest by prefix"
        f" (chance {near['recall_chance']:.1%})",
      )
    )
  body = "".join(
    f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
    for value, text in tiles
  )
  return f'<div class="tiles">{body}</div>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  head = "".join(f"<th>{escape(name)}</th>" for name in header)
  body = "".join(
    "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    for row in rows
  )
  return (
    f'<div class="card"><table><thead><tr>{head}</tr></thead>'
    f"<tbody>{body}</tbody></table></div>"
  )


def _levels(report: Mapping[str, Any]) -> str:
  rows = [
    (
      str(number),
      f"{level['size']:,}",
      f"{level['used']:,} ({level['used_share']:.1%})",
      f"{level['perplexity']:,.1f}",
      f"{level['entropy_bits']:.2f}",
      f"{level['entropy_given_prefix_bits']:.2f}",
      f"{level['largest_share']:.2%}",
    )
    for number, level in enumerate(report["levels"], 1)
  ]
  header = (
    "level",
    "codes",
    "used",
    "perplexity",
    "bits",
    "bits given the prefix",
    "largest code",
  )
  return _table(header, rows)


def _depths(report: Mapping[str, Any]) -> str:
  before = report.get("before_rule", report)["depths"]
  rows = []
  for depth in report["depths"]:
    number = depth["depth"]
    alone = (
      f"{before[number - 1]['distinct']:,}" if number <= len(before) else "-"
    )
    rows.append(
      (
        str(number),
        f"{depth['distinct']:,}",
        alone,
        f"{depth['collision_rate']:.2%}",
        f"{depth['items_sharing']:,} ({depth['sharing_share']:.2%})",
        f"{depth['largest_group']:,}",
        f"{depth['branching_mean']:.2f}",
        f"{depth['branching_max']:,}",
      )
    )
  header = (
    "depth",
    "distinct",
    "before the rule",
    "collisions",
    "items sharing",
    "largest group",
    "children, mean",
    "most",
  )
  return _table(header, rows)


def _figures(report: Mapping[str, Any]) -> str:
  plots = [
    Plot(
      token_figures.usage(report["levels"]),
      "1 is an even share; a line that ends at 0 early has dead codes.",
    ),
    Plot(
      token_figures.prefixes(report["depths"], report["items"]),
      "Where bars reach the dashed line, a prefix names one item.",
    ),
    Plot(
      token_figures.branching(report["depths"]),
      "Codes that follow a prefix: the most decides what a trie costs.",
    ),
  ]
  if report.get("purity"):
    plots.append(
      Plot(
        token_figures.purity(report["purity"]),
        "Dashed: the same groups with shuffled labels.",
      )
    )
  body = "".join(
    f'<figure class="card">{plot.svg}'
    f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    for plot in plots
  )
  return f'<div class="figures">{body}</div>'


def _groups(groups: Sequence[Group]) -> str:
  rows = [
    (
      " ".join(map(str, group.prefix)),
      f"{group.items:,}",
      " · ".join(title[:60] for title in group.titles),
    )
    for group in groups
  ]
  # Titles are text: left, and wrapped.
  return _table(("prefix", "items", "such as"), rows).replace(
    "<table>", '<table class="text">'
  )


def _facts(facts: Mapping[str, str]) -> str:
  return "".join(
    f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    for name, value in facts.items()
  )


def _short(report: Any) -> Any:
  """Without the counts of every code, which only the plot needs."""
  if isinstance(report, Mapping):
    return {k: _short(v) for k, v in report.items() if k != "counts"}
  if isinstance(report, list):
    return [_short(v) for v in report]
  return report
