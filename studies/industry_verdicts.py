# SPDX-License-Identifier: Apache-2.0
"""What seeds say of the rankers of industry, of metrics by role and seed.

studies/industry_claims.py is the command, and says what the claims are;
studies/industry_runs.py has the roles.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from genrec_jax.metrics import seeds
from studies.industry_runs import Values
from studies.verdicts import (
  Result,
  compared,
  correct,
  means,
  of_seeds,
  over_seeds,
)

LONG_VIEW, CLICK, LIKE = "long_view/auc", "click/auc", "like/auc"


@dataclasses.dataclass(frozen=True)
class Order:
  """The better role is above the worse one, by more than a margin."""

  better: str
  worse: str
  metric: str = LONG_VIEW
  margin: float = 0.0

  @property
  def roles(self) -> tuple[str, ...]:
    """Whose runs it needs."""
    return self.better, self.worse

  def judge(self, values: Values) -> Result:
    """What seeds say of it."""
    if not self.margin:
      return compared(values, self.better, self.worse, self.metric)
    found = of_seeds(values, self.roles, self.metric)
    if isinstance(found, str):
      return {"verdict": found}
    above = found[0] - found[1] - self.margin
    return _said("holds", self, found, [above], margin=self.margin)


@dataclasses.dataclass(frozen=True)
class Alike:
  """Two roles differ by less than a margin, on either side."""

  one: str
  other: str
  metric: str = LONG_VIEW
  margin: float = 0.01

  @property
  def roles(self) -> tuple[str, ...]:
    """Whose runs it needs."""
    return self.one, self.other

  def judge(self, values: Values) -> Result:
    """What seeds say of it."""
    found = of_seeds(values, self.roles, self.metric)
    if isinstance(found, str):
      return {"verdict": found}
    apart = found[0] - found[1]
    inside = [self.margin - apart, self.margin + apart]
    return _said("holds", self, found, inside, margin=self.margin)


@dataclasses.dataclass(frozen=True)
class Gains:
  """The gain of the first pair is above `times` that of the second.

  Attributes:
    first: roles with and without something.
    second: the same.
    times: how often the second one's.
    metric: of all four.
  """

  first: tuple[str, str]
  second: tuple[str, str]
  times: float = 1.0
  metric: str = LONG_VIEW

  @property
  def roles(self) -> tuple[str, ...]:
    """Whose runs it needs."""
    return *self.first, *self.second

  def judge(self, values: Values) -> Result:
    """What seeds say of it."""
    found = of_seeds(values, self.roles, self.metric)
    if isinstance(found, str):
      return {"verdict": found}
    first, second = found[0] - found[1], found[2] - found[3]
    return _said(
      "holds",
      self,
      found,
      [first - self.times * second],
      gains=[round(float(x.mean()), 4) for x in (first, second)],
      times=self.times,
    )


@dataclasses.dataclass(frozen=True)
class GrowsWithSize:
  """A metric rises by the logarithm of the parameters.

  Attributes:
    roles: from the smallest on.
    metric: of each.
  """

  roles: tuple[str, ...]
  metric: str

  def judge(self, values: Values) -> Result:
    """What seeds say of the slope, by decade of parameters."""
    found = of_seeds(values, self.roles, self.metric)
    sizes = of_seeds(values, self.roles, "parameters")
    for one in (found, sizes):
      if isinstance(one, str):
        return {"verdict": one}
    decades = np.log10(sizes.mean(axis=1))
    slope_S = np.polyfit(decades, found, 1)[0]
    return _said(
      "a rise holds; a law needs more sizes",
      self,
      found,
      [slope_S],
      slope_by_decade=round(float(slope_S.mean()), 4),
      parameters=[round(float(x)) for x in sizes.mean(axis=1)],
    )


def _said(verdict, claim, found, above_zero, **figures: Any) -> Result:
  return over_seeds(
    verdict,
    [list(one) for one in above_zero],
    metric=claim.metric,
    seeds=found.shape[1],
    figures=dict(zip(claim.roles, means(found), strict=True)),
    over_seeds=[
      None if one is None else [round(x, 5) for x in one]
      for one in (seeds.over_seeds(list(x)) for x in above_zero)
    ],
    **figures,
  )


_OURS = ("longer", "rankmixer", "tokenmixer", "linkedin")
_HEADS = ("linear", "mlp", "mmoe", "dcn_stacked")
_PLACES = ("no_positions", "absolute", "silu", "hstu", "no_counts")
_FULL = (("genrank", "genrank_full_mask"),)
_FULL += (("genrank_wide", "genrank_full_mask_wide"),)
# Claim -> how it is judged.
CLAIMS: Mapping[str, Any] = {
  **{f"aim: {role} above DCN-v2": Order(role, "dcn") for role in _OURS},
  "50 UCR above ICR": Order("ucr", "ucr_icr"),
  "50 UCR above ICR, both with counts": Order("ucr_counts", "ucr_icr-counts"),
  "86 full visibility loses .01": Order(*_FULL[0], margin=0.01),
  "86 full visibility loses .01, wide": Order(*_FULL[1], margin=0.01),
  "86 it loses more where models are larger": Gains(_FULL[1], _FULL[0]),
  "94 content is worth twice as much in a sequence": Gains(
    ("hstu_content", "hstu"), ("dcn_content", "dcn"), times=2.0
  ),
  "94 content helps DCN-v2": Order("dcn_content", "dcn"),
  "95 hand-made counts do nothing, DCN-v2": Alike(
    "dcn_affinity", "dcn", margin=0.002
  ),
  "95 hand-made counts do nothing, HSTU": Alike(
    "hstu_affinity", "hstu", margin=0.002
  ),
  "95 window statistics help DCN-v2": Order("dcn_windows", "dcn"),
  "95 window statistics help HSTU": Order("hstu_windows", "hstu"),
  **{
    f"120 parallel DCN-v2 above {head}": Order("linkedin", f"linkedin_{head}")
    for head in _HEADS
  },
  **{
    f"120 above {form}": Order("linkedin", f"linkedin_{form}")
    for form in _PLACES
  },
  "122 recall rises with size": GrowsWithSize(
    ("lum_32", "lum_64", "lum_128"), "recall@10"
  ),
  **{
    f"123 answers of LUM help {name}": Order(f"{name}_lum", f"{name}_recent")
    for name in ("dcn", "din", "dlrm")
  },
  "130 mixing above none": Order("rankmixer", "rankmixer_no_mixing"),
  "130 mixing as good as attention": Alike(
    "rankmixer", "rankmixer_attention", margin=0.002
  ),
  "130 a part for each token": Order("rankmixer", "rankmixer_shared_ffn"),
  "130 sparse experts lose nothing": Alike(
    "rankmixer_dtsi", "rankmixer", margin=0.002
  ),
  "130 two routers above top-k": Order("rankmixer_dtsi", "rankmixer_top_k"),
  "136 above DIN of the last 50, simulated": Order(
    "memory", "memory_din50", LIKE, margin=0.2
  ),
  "136 merging loses nothing, simulated": Alike(
    "memory", "memory_unmerged", LIKE
  ),
  "136 above DIN of all, simulated": Order("memory", "memory_din", LIKE),
  "136 recent above learned queries, simulated": Order(
    "memory", "memory_learned", LIKE
  ),
  "136 global tokens help": Order("longer", "longer_no_globals"),
  "137 joint above frozen, simulated": Order(
    "lemur", "lemur_frozen", "click/qauc"
  ),
  "137 contrast helps, simulated": Order(
    "lemur", "lemur_no_contrast", "click/qauc"
  ),
  "137 query mask helps, simulated": Order(
    "lemur", "lemur_no_query_mask", "click/qauc"
  ),
  "137 cosines help, simulated": Order(
    "lemur", "lemur_no_cosines", "click/qauc"
  ),
  "137 a memory costs nothing, simulated": Alike(
    "lemur", "lemur_reencode", "click/qauc", margin=0.002
  ),
  "137 a fifth encoded costs nothing, simulated": Alike(
    "lemur_sampled", "lemur", "click/qauc", margin=0.001
  ),
  "147 answers of some days ago lose little": Alike(
    "dcn_lum_days_2_to_4", "dcn_lum", margin=0.002
  ),
  "147 answers of a week ago lose little": Alike(
    "dcn_lum_days_5_to_7", "dcn_lum", margin=0.002
  ),
  "147 answers of a week ago above none": Order(
    "dcn_lum_days_5_to_7", "dcn_recent"
  ),
}


def judged(values: Values) -> dict[str, Result]:
  """All of CLAIMS, corrected together; those without runs say so."""
  found = {name: claim.judge(values) for name, claim in CLAIMS.items()}
  correct(found)
  return found


def roles_of(numbers: Sequence[str]) -> list[str]:
  """Roles that claims rest on, each once.

  Args:
    numbers: of claims, such as "86", or "aim"; none = all.
  """
  wanted = [
    role
    for name, claim in CLAIMS.items()
    for role in claim.roles
    if not numbers or name.split()[0].rstrip(":") in numbers
  ]
  return list(dict.fromkeys(wanted))
