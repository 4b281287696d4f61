# SPDX-License-Identifier: Apache-2.0
"""What a page shows of the samples that a model draws of itself.

In reading order: what their reward was before and is now, plots of rewards and
of shares by step with the rounds, the metrics before and after, the nats of
each level, and samples of a few requests with their rewards. The reward is what
is trained on: whether lists are better, other evaluators say.
"""

from collections.abc import Mapping, Sequence
from html import escape
import pathlib
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from genrec_jax.metrics.writer import read_rows
from genrec_jax.report.document import ONE_SEED, Part, Plot, figures_html
from genrec_jax.report.figures import LINE, MODEL, MUTED, STYLE, svg_of

# Lines of each plot: metric -> label and colour.
_REWARDS = {
  "reward": ("mean of samples", MODEL),
  "reward_best": ("best of a request", MUTED),
}
_SHARES = {
  "legal_share": ("likely codes that are items", MODEL),
  "head_share": ("samples of the most popular items", MUTED),
}
_EXAMPLES = (
  "The best of what was drawn for each, by its reward; log p is the sum over"
  " its codes, in nats."
)

Rows = Sequence[Mapping[str, Any]]


def part_of(
  workdir: pathlib.Path, section: Mapping[str, Any], user: str | None = None
) -> Part:
  """What the page shows of the section of rollout.SampleQuality.

  Args:
    workdir: an evaluated run.
    section: of its document, with the description of the run.
    user: of no use here.
  """
  del user
  before = section.get("before", {})
  start = {f"validation/{k}": v for k, v in before.items()}
  rows = [*read_rows(workdir / "metrics.jsonl")]
  rows = [{"step": 0, **start}, *rows] if start else rows
  rollout = section["config_values"].get("rollout", {})
  period = rollout.get("renew_steps", 0)
  period = period if period > 1 else 0
  plots = [
    Plot(
      lines(rows, _REWARDS, "Reward of samples", period),
      "Rewards of samples of the validation part"
      + (
        f"; lines are rounds, of {period:,} steps, at whose start the copy that"
        " draws is made anew."
        if period
        else ", by step."
      ),
    ),
    Plot(
      lines(rows, _SHARES, "What is drawn", period),
      "Shares that fall or rise where a model leaves what it knows.",
    ),
  ]
  body = "\n".join(
    [
      f'<div class="card"><p>{escape(_sentence(section))}</p></div>',
      figures_html(plots),
      _metrics(section),
      _nats(section.get("nats", {})),
      _examples(section.get("examples", ())),
    ]
  )
  facts = {
    "samples by": f"{rollout['drawer']['name']} of {rollout['requests']}"
    " requests a step",
    "their reward": rollout["reward"]["name"],
  }
  return Part("The samples it draws", body, facts, section.get("notes", ()))


def lines(
  rows: Rows, wanted: Mapping[str, tuple[str, str]], title: str, period: int
) -> str:
  """Validation metrics by step, with a mark at the start of each round.

  Args:
    rows: of metrics.jsonl.
    wanted: metric -> label and colour.
    title: of the plot.
    period: steps of a round; 0 = there are none.
  """
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel("step")
    last = 0
    for name, (label, color) in wanted.items():
      key = f"validation/{name}"
      found = [(r["step"], r[key]) for r in rows if r.get(key) is not None]
      if found:
        steps, values = zip(*found, strict=True)
        axes.plot(steps, values, color=color, marker="o", markersize=3)
        axes.lines[-1].set_label(label)
        last = max(last, *steps)
    for step in range(period, last, period) if period else ():
      axes.axvline(step, color=LINE, linewidth=1.2, zorder=0)
    if axes.lines:
      axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
  return svg_of(figure, title)


def _sentence(section: Mapping[str, Any]) -> str:
  now = section["metrics"]["validation"]
  before = section.get("before", {})
  was = f" {before['reward']:.4f} before, and" if "reward" in before else ""
  return (
    f"The mean reward of samples is{was} {now['reward']:.4f} now;"
    f" {now['legal_share']:.1%} of the likeliest codes are items. The reward is"
    f" what is trained on. {ONE_SEED}"
  )


def _metrics(section: Mapping[str, Any]) -> str:
  parts = {"before": section.get("before", {}), **section["metrics"]}
  names = dict.fromkeys(name for values in parts.values() for name in values)
  rows = [
    [name, *(_number(values.get(name)) for values in parts.values())]
    for name in names
  ]
  head = ["", "before, validation", *(f"now, {p}" for p in section["metrics"])]
  return f"<h3>Before and after</h3>{_table(head, rows)}"


def _nats(nats: Mapping[str, Mapping[str, float]]) -> str:
  """-log p of what was drawn, by level."""
  if not nats:
    return ""
  names = dict.fromkeys(name for values in nats.values() for name in values)
  rows = [
    [part, *(_number(values.get(name)) for name in names)]
    for part, values in nats.items()
  ]
  head = ["nats of a code", *(name.replace("_", " ") for name in names)]
  return f"<h3>How sure each level is</h3>{_table(head, rows)}"


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
  if not examples:
    return ""
  body = ""
  for example in examples:
    read = ", ".join(example["history"])
    came = f"; then came {example['next']}" if example["next"] else ""
    rows = [
      [
        ", ".join(sample["items"]),
        _number(sample["reward"]),
        _number(sample["log_p"]),
      ]
      for sample in example["samples"]
    ]
    body += (
      f"<p>User number {escape(str(example['user']))}: {escape(read)}"
      f"{escape(came)}</p>" + _table(["drawn", "reward", "log p"], rows)
    )
  return f"<h3>What it draws</h3><p>{_EXAMPLES}</p>{body}"


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.4f}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  head = "".join(f"<th>{escape(name)}</th>" for name in names)
  body = "".join(
    f"<tr>{''.join(f'<td>{escape(v)}</td>' for v in row)}</tr>" for row in rows
  )
  return (
    f'<div class="card"><table><thead><tr>{head}</tr></thead>'
    f"<tbody>{body}</tbody></table></div>"
  )
