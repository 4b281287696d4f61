# SPDX-License-Identifier: Apache-2.0
"""What is to be remembered of a ranker: is it above the training rates?

Asked twice of every task, with 95 % intervals paired over users, each time
against the baseline that is best by that metric:

    over all users   AUC    knowing who does much is enough to be ahead
    within users     GAUC   is a user's own list in a better order?

One can be won and the other lost. Within users, histories are frozen where the
part begins if that was measured: running ones have an order of their own
(evaluation/shown_items_measurement.py). A task without a GAUC, where hardly any
user has both outcomes, is said and decides nothing. All of it is of one
training: of other seeds nothing is said.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from genrec_jax.metrics.auc import gauc_share
from genrec_jax.report.document import ONE_SEED, Verdict
from genrec_jax.report.ranking.runs import BASELINES


@dataclasses.dataclass(frozen=True)
class _Lead:
  """By how much one metric of a task is above that of its best baseline."""

  task: str
  baseline: str
  difference: float
  low: float
  high: float

  def text(self, more: str = "") -> str:
    return (
      f"{self.task} {self.difference:+.4f} against {self.baseline}"
      f" ({self.low:+.4f} to {self.high:+.4f}{more})"
    )


def best_baseline(
  result: Mapping[str, Any], task: str, metric: str = "auc"
) -> str | None:
  """Name of a task's best baseline on test; None where none is defined."""
  found = {
    name: parts["test"][task][metric]
    for name, parts in result["baselines"].items()
    if parts["test"][task][metric] is not None
  }
  return max(found, key=found.__getitem__) if found else None


def verdict(result: Mapping[str, Any]) -> Verdict:
  """For which tasks this training is above every baseline, and where not.

  By intervals over users: "surely" is for other users, not for other seeds.
  """
  pooled, without_auc = _leads(result, "auc")
  within, without_gauc = _leads(result, "gauc")
  lost = [lead.task for lead in pooled if lead.low <= 0] + without_auc
  worse = [lead for lead in within if lead.high < 0]
  unsure = [lead.task for lead in within if lead.low <= 0 <= lead.high]
  if lost:
    which = _listed(lost) if len(lost) < len(result["tasks"]) else "any task"
    point = f"is not surely above the training rates in {which}"
  else:
    point = "is above the training rates in every task over all users"
  if worse:
    baselines = _listed(dict.fromkeys(lead.baseline for lead in worse))
    tasks = _listed([lead.task for lead in worse])
    point += ", and" if lost else ", but"
    point += f" below {baselines} within users for {tasks}"
  elif unsure and not lost:
    point += f", but not surely within users for {_listed(unsure)}"
  after = _over_all_text(pooled, without_auc)
  after += _within_text(result, within, without_gauc)
  return Verdict(
    f"On {result['num_impressions']['test']:,} shown items, this training ",
    point,
    f".{after} Differences with 95 % intervals over users, paired. {ONE_SEED}",
    won=not (lost or worse or unsure),
  )


def _leads(
  result: Mapping[str, Any], metric: str
) -> tuple[list[_Lead], list[str]]:
  """Every task against its best baseline, and the tasks without an interval."""
  leads, without = [], []
  versus = result["versus"]
  if metric == "gauc":
    versus = result.get("versus_frozen") or versus
  for task in result["tasks"]:
    baseline = best_baseline(result, task, metric)
    found = baseline and versus[baseline]["test"][task].get(metric)
    if found:
      leads.append(_Lead(task, BASELINES.get(baseline, baseline), *found))
    else:
      without.append(task)
  return leads, without


def _over_all_text(leads: Sequence[_Lead], without: Sequence[str]) -> str:
  said = [lead.text() for lead in leads]
  said += [f"{task} not defined" for task in without]
  return f" Over all users (AUC): {'; '.join(said)}."


def _within_text(
  result: Mapping[str, Any], leads: Sequence[_Lead], without: Sequence[str]
) -> str:
  """Of GAUC and of what share it is; nothing where there are no baselines."""

  def share(task: str) -> str:
    of = gauc_share(result["metrics"]["test"][task])
    return f"{of:.1%} of the items"

  text = ""
  if leads:
    said = [lead.text(f", of {share(lead.task)}") for lead in leads]
    behind = ", frozen histories" if result.get("versus_frozen") else ""
    text += f" Within users (GAUC{behind}): {'; '.join(said)}."
  if without and result["baselines"]:
    tasks = _listed([f"{task} ({share(task)})" for task in without])
    text += f" Too few users have both outcomes of {tasks} to compare within"
    text += " them."
  return text


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
  """'a', 'a and b', 'a, b and c'."""
  *most, last = names
  return f"{', '.join(most)} and {last}" if most else last
