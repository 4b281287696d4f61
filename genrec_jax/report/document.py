# SPDX-License-Identifier: Apache-2.0
"""The HTML that the pages of runs have in common, and what it is made of.

    document_html   a whole page around its sections, with its verdict
    figures_html    plots in two columns
    measured_html   the last section: facts, notes, the config

The style is page.css in this folder. What comes from data is escaped here.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from html import escape
from importlib import resources
import json
from typing import Any

# A page is of one training. What other seeds would do, none of its intervals
# knows (genrec compare does, of several).
ONE_SEED = "One seed: no verdict over seeds."


@dataclasses.dataclass(frozen=True)
class Plot:
  """One plot and the sentence under it; a wide one has a row of its own."""

  svg: str
  caption: str
  wide: bool = False


@dataclasses.dataclass(frozen=True)
class Event:
  """One past event of the example's user; `when` and `detail` may be ''."""

  title: str
  detail: str
  when: str


@dataclasses.dataclass(frozen=True)
class Suggestion:
  """One recommended item; a higher score is better, of any scale."""

  title: str
  detail: str
  score: float


@dataclasses.dataclass(frozen=True)
class Part:
  """What a page shows of one evaluator.

  Attributes:
    title: of its sections, where it is not the first of a page.
    body: their HTML.
    facts, notes: what the last section of the page says of them.
    verdict: what to remember; None where it has none.
    tiles: figures for the top of the page.
    lead: HTML that comes before the parts of all evaluators.
  """

  title: str
  body: str
  facts: Mapping[str, str]
  notes: Sequence[str]
  verdict: "Verdict | None" = None
  tiles: Sequence[tuple[str, str]] = ()
  lead: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
  """One or two sentences, of which `point` is the one to remember.

  Of one training, by intervals over users; `won` is of these too.
  """

  before: str
  point: str
  after: str
  won: bool

  @property
  def text(self) -> str:
    return f"{self.before}{self.point}{self.after}"


def verdict_html(said: Verdict) -> str:
  """A paragraph, its point in the colour of what it says."""
  kind = "won" if said.won else "lost"
  return (
    f'<p class="verdict">{escape(said.before)}<strong class="{kind}">'
    f"{escape(said.point)}</strong>{escape(said.after)}</p>"
  )


def figures_html(plots: Sequence[Plot]) -> str:
  """Plots in two columns."""
  body = "".join(
    f'<figure class="card{" wide" if plot.wide else ""}">{plot.svg}'
    f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    for plot in plots
  )
  return f'<div class="figures">{body}</div>'


def detail_html(text: str) -> str:
  """A second, smaller line; nothing for ''."""
  return f'<span class="detail">{escape(text)}</span>' if text else ""


def measured_html(
  facts: Mapping[str, str],
  notes: Sequence[str],
  config_values: Mapping[str, Any],
) -> str:
  """The last section: facts, notes, and the whole config to unfold."""
  pairs = "".join(
    f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    for name, value in facts.items()
  )
  items = "".join(f"<li>{escape(note)}</li>" for note in notes)
  listed = f'<ul class="muted">{items}</ul>' if items else ""
  values = escape(json.dumps(config_values, indent=2, sort_keys=True))
  return f"""<h2>How it was measured</h2>
<div class="card">
<dl>{pairs}</dl>
{listed}
<details><summary>All configuration values</summary>
<pre>{values}</pre>
</details>
</div>"""


def tiles_html(tiles: Sequence[tuple[str, str]]) -> str:
  """Figures with what they are, side by side."""
  body = "".join(
    f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
    for value, text in tiles
  )
  return f'<div class="tiles">{body}</div>' if tiles else ""


def document_html(
  title: str, date: str, said: Verdict | None, body: str
) -> str:
  """A whole page around its sections; the title comes as plain text."""
  css = resources.files("genrec_jax.report").joinpath("page.css").read_text()
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">genrec_jax, {escape(date[:10])}</p>
<h1>{escape(title)}</h1>
{verdict_html(said) if said is not None else ""}
</header>
{body}
</main>
</body>
</html>
"""
