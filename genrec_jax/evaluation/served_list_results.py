# SPDX-License-Identifier: Apache-2.0
"""What stands in the section of evaluation/served_list.py, of its answers.

recall     by stage: {"members": {MEMBER: {"recall@K"}}, "union", "joined",
           "served"}; the union has the mean number of its items as well
intervals  {"recall@K": [low, high]} of the served list, users resampled
stages     {K: {STAGE: share of requests}}; they add up to 1
hits       which members have a target, best first: [{"members": [...],
           "proposed": requests, "served": {K: requests}}]; no members where
           only what fills a list has it
overlap    {MEMBER: {MEMBER: requests whose target both have}}
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.evaluation.ranks import Ranks
from genrec_jax.metrics import bootstrap
from genrec_jax.metrics.ranking import MISS

PART = "test"
SERVED = "served"
STAGES = ("served", "order", "join", "missed", "hidden")


@dataclasses.dataclass(frozen=True)
class Served:
  """Places of targets; columns by request, and place 0 = not there.

  Attributes:
    users_R, events_R, targets_R: whose request it is, and what it asks for.
    hidden_R: whether the target was not allowed.
    served_R: place in the first max(ks) of the final list.
    candidate_R: place in the joined list.
    members: place in each member's list.
    union_R: different items in the lists of all members.
  """

  users_R: Int[np.ndarray, "R"]
  events_R: Int[np.ndarray, "R"]
  targets_R: Int[np.ndarray, "R"]
  hidden_R: Bool[np.ndarray, "R"]
  served_R: Int[np.ndarray, "R"]
  candidate_R: Int[np.ndarray, "R"]
  members: Mapping[str, Int[np.ndarray, "R"]]
  union_R: Int[np.ndarray, "R"]

  @classmethod
  def joined(cls, parts: Sequence["Served"]) -> "Served":
    """One behind the other."""
    columns = [f.name for f in dataclasses.fields(cls) if f.name != "members"]
    found = {
      name: np.concatenate([getattr(part, name) for part in parts])
      for name in columns
    }
    members = {
      name: np.concatenate([part.members[name] for part in parts])
      for name in parts[0].members
    }
    return cls(members=members, **found)

  @property
  def proposed_R(self) -> Bool[np.ndarray, "R"]:
    """Whether any member has the target."""
    return np.stack(list(self.members.values())).any(axis=0)

  def ranks(self, fingerprint: str, ks: Sequence[int]) -> Ranks:
    """The places for paired comparisons, as ranks (evaluation/ranks.py)."""
    columns = {
      f"{PART}/users": self.users_R,
      f"{PART}/events": self.events_R,
      f"{PART}/targets": self.targets_R,
      f"{PART}/ranks/{SERVED}": np.where(
        self.served_R > 0, self.served_R, MISS
      ).astype(np.int32),
    }
    return Ranks(fingerprint, tuple(ks), columns)


def place_of(
  ids_BK: Int[np.ndarray, "B K"], target_B: Int[np.ndarray, "B"]
) -> Int[np.ndarray, "B"]:
  """Place of each target in its list, from 1 on; 0 = not there."""
  hit_BK = (ids_BK == target_B[:, None]) & (target_B[:, None] > 0)
  return np.where(hit_BK.any(axis=1), hit_BK.argmax(axis=1) + 1, 0)


def section(
  served: Served, ks: Sequence[int], candidates: int, depth: int
) -> dict[str, Any]:
  """What is measured of the answers.

  Args:
    served: the places.
    ks: cut-offs of the final list.
    candidates: places of the joined list.
    depth: places of each member's list.
  """
  shown = [k for k in ks if k <= candidates]
  return {
    "part": PART,
    "ks": list(ks),
    "requests": len(served.targets_R),
    "users": len(np.unique(served.users_R)),
    "candidates": candidates,
    "depth": depth,
    "recall": {
      "members": {
        name: _recall(place_R, sorted({*shown, depth}))
        for name, place_R in served.members.items()
      },
      "union": {
        "recall": float(served.proposed_R.mean()),
        "items": float(served.union_R.mean()),
      },
      "joined": _recall(served.candidate_R, sorted({*shown, candidates})),
      "served": _recall(served.served_R, ks),
    },
    "intervals": {
      f"recall@{k}": _interval(_within(served.served_R, k), served.users_R)
      for k in ks
    },
    "stages": {str(k): stages(served, k) for k in ks},
    "hits": hits(served, ks),
    "overlap": {
      a: {b: int(((x > 0) & (y > 0)).sum()) for b, y in served.members.items()}
      for a, x in served.members.items()
    },
  }


def stages(served: Served, k: int) -> dict[str, float]:
  """Share of requests by where the target is found or lost."""
  hit_R = _within(served.served_R, k)
  lost_R = ~hit_R & ~served.hidden_R
  candidate_R = served.candidate_R > 0
  found = {
    "served": hit_R,
    "order": lost_R & candidate_R,
    "join": lost_R & ~candidate_R & served.proposed_R,
    "missed": lost_R & ~candidate_R & ~served.proposed_R,
    "hidden": ~hit_R & served.hidden_R,
  }
  return {name: float(found[name].mean()) for name in STAGES}


def hits(served: Served, ks: Sequence[int]) -> list[dict[str, Any]]:
  """Whose hits are whose: a row per set of members that have a target."""
  names = list(served.members)
  has_RM = np.stack([p > 0 for p in served.members.values()], axis=1)
  there_R = (served.served_R > 0) | has_RM.any(axis=1)
  rows = []
  for has_M in np.unique(has_RM[there_R], axis=0):
    same_R = there_R & (has_RM == has_M).all(axis=1)
    rows.append(
      {
        "members": [n for n, has in zip(names, has_M, strict=True) if has],
        "proposed": int(same_R.sum()) if has_M.any() else 0,
        "served": {
          str(k): int((same_R & _within(served.served_R, k)).sum()) for k in ks
        },
      }
    )
  last = str(max(ks))
  # Stable: rows of equal counts stay in the order of np.unique.
  return sorted(rows, key=lambda r: (-r["served"][last], -r["proposed"]))


def _within(place_R: Int[np.ndarray, "R"], k: int) -> Bool[np.ndarray, "R"]:
  return (place_R > 0) & (place_R <= k)


def _recall(
  place_R: Int[np.ndarray, "R"], ks: Sequence[int]
) -> dict[str, float]:
  return {f"recall@{k}": float(_within(place_R, k).mean()) for k in ks}


def _interval(
  hit_R: Bool[np.ndarray, "R"], users_R: Int[np.ndarray, "R"]
) -> list[float]:
  found = bootstrap.interval(hit_R.astype(np.float64), users_R)
  return [found.low, found.high]


def recall_rows(
  section: Mapping[str, Any],
) -> tuple[list[int], list[tuple[str, list[float | None]]]]:
  """Cut-offs, and recall at each of every stage, by its label."""
  recall = section["recall"]
  ks = sorted({*section["ks"], section["candidates"], section["depth"]})
  rows = [(name, values) for name, values in recall["members"].items()]
  union = {f"recall@{section['depth']}": recall["union"]["recall"]}
  rows += [
    ("all members' lists", union),
    ("joined", recall["joined"]),
    ("served", recall["served"]),
  ]
  cells = [[values.get(f"recall@{k}") for k in ks] for _, values in rows]
  return ks, list(zip([label for label, _ in rows], cells, strict=True))


def table(section: Mapping[str, Any]) -> str:
  """Lines of text."""
  order = "in the order of the joined list"
  if section["ranker"]:
    order = f"ordered by {section['ranker']}"
    order += f" ({section['weights']})" if section["weights"] else ""
  ks, rows = recall_rows(section)
  width = max(20, *(len(label) + 2 for label, _ in rows))
  lines = [
    f"served list, {section['requests']:,} {section['part']} requests,"
    f" {section['candidates']} candidates by {section['rule']}, {order}:",
    " " * width + "".join(f"{f'recall@{k}':>12}" for k in ks),
  ]
  for label, cells in rows:
    line = "".join(f"{'' if c is None else f'{c:.4f}':>12}" for c in cells)
    lines.append(f"{f'  {label}':{width}}{line}".rstrip())
  lines.append(
    f"  all members' lists have {section['recall']['union']['items']:.1f}"
    f" different items of {section['depth']} each"
  )
  for k in section["ks"]:
    low, high = section["intervals"][f"recall@{k}"]
    found = section["stages"][str(k)]
    lines.append(
      f"  first {k}: "
      + ", ".join(f"{n} {v:.2%}" for n, v in found.items())
      + f"; 95 % of served over users {low:.4f} to {high:.4f}"
    )
  last = str(max(section["ks"]))
  lines.append(f"  whose hits: proposed, served in the first {last}")
  for row in section["hits"]:
    lines.append(
      f"    {said(row['members'])}: {row['proposed']:,},"
      f" {row['served'][last]:,}"
    )
  lines += [f"note: {note}" for note in section["notes"]]
  return "\n".join(lines)


def said(members: Sequence[str]) -> str:
  """Who has a target."""
  if not members:
    return "no member, filled up"
  if len(members) == 1:
    return f"{members[0]} alone"
  return f"{', '.join(members[:-1])} and {members[-1]}"


def comparison_table(against: Mapping[str, Any]) -> str:
  """Lines of text for one entry of the document's "against"."""
  lines = [
    f"served list minus that of {against['workdir']}, 95 % over users, paired;"
    " one seed each: no verdict over seeds:"
  ]
  for part, metrics in against["differences"].items():
    for name, (mean, low, high) in metrics.items():
      if name.startswith("hr@"):
        label = name.replace("hr", "recall")
        lines.append(
          f"  {part:10}{label:>12}{mean:>+10.4f}  [{low:+.4f}, {high:+.4f}]"
        )
  return "\n".join(lines)
