# SPDX-License-Identifier: Apache-2.0
"""The page of a workdir: one HTML file, a part of each evaluator.

What is known of the run stands at the top and at the end; between them what its
evaluators measured, in the order of config.evals, after what one of them puts
before all. An evaluator without a
function in `PARTS` is shown by its numbers (report/plain.py).
"""

from collections.abc import Callable, Mapping
import pathlib
from typing import Any

from genrec_jax.evaluation.document import of_section, read
from genrec_jax.report import plain, samples
from genrec_jax.report.document import (
  Part,
  Verdict,
  document_html,
  measured_html,
  tiles_html,
  verdict_html,
)
from genrec_jax.report.ranking import workdir as ranking
from genrec_jax.report.retrieval import (
  incremental_recall,
  search_stages,
  served_list,
  workdir as retrieval,
)
from genrec_jax.report.runs import dataset_title

PARTS: Mapping[str, Callable[..., Part]] = {
  "evaluation.IncrementalRecall": incremental_recall.part_of,
  "evaluation.NextItem": retrieval.part_of,
  "evaluation.SearchStages": search_stages.part_of,
  "evaluation.ServedList": served_list.part_of,
  "evaluation.ShownItems": ranking.part_of,
  "rollout.SampleQuality": samples.part_of,
}


def page_of(
  workdir: pathlib.Path, user: str | None = None
) -> tuple[str, list[Verdict]]:
  """The HTML of an evaluated run, and its verdicts.

  Args:
    workdir: where it lives.
    user: id of the example's user, by default the first one.
  """
  document = read(workdir)
  parts = []
  for name, section in document["sections"].items():
    make = PARTS.get(section["evaluator"], plain.part_of)
    values = of_section(document, name)
    values["all_tasks"] = [
      task
      for other in document["sections"].values()
      for task in other.get("tasks", ())
    ]
    parts.append(make(workdir, values, user))
  return render(document, parts), [p.verdict for p in parts if p.verdict]


def render(document: Mapping[str, Any], parts: list[Part]) -> str:
  """The whole page of a document around its parts."""
  first, *others = parts
  facts = dict(_facts(document))
  for part in parts:
    facts |= part.facts
  sections = [first.body]
  for part in others:
    said = "" if part.verdict is None else verdict_html(part.verdict)
    sections.append(f"<h2>{part.title}</h2>\n{said}\n{part.body}")
  notes = [note for part in parts for note in part.notes]
  measured = measured_html(facts, notes, document["config_values"])
  leads = [part.lead for part in parts if part.lead]
  body = "\n".join([*leads, tiles_html(first.tiles), *sections, measured])
  title = f"{document['title']} · {dataset_title(document['dataset'])}"
  return document_html(title, document["date"], first.verdict, body)


def _facts(document: Mapping[str, Any]) -> dict[str, str]:
  minutes, seconds = divmod(round(document["train_seconds"]), 60)
  changed = " with local changes" if document["dirty"] else ""
  return {
    "config": document["config"],
    "data set": document["dataset"],
    "seed": str(document["seed"]),
    "commit": document["commit"] + changed,
    "date": document["date"],
    "device": document["device"],
    "training": f"{minutes} min {seconds} s",
    "measured": f"{document['checkpoint']} checkpoint, step"
    f" {document['step']:,}",
    "parameters": f"{document['parameters']:,}",
    "users": f"{document['num_users']:,}",
    "items": f"{document['num_items']:,}",
    "events": f"{document['num_events']:,}",
    "data fingerprint": document["fingerprint"],
    "sort": document["sort_rule"],
    "split": document["split_rule"],
    "intervals": "95 %, over users (resampled), not over seeds",
  }
