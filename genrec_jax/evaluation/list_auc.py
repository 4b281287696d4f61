# SPDX-License-Identifier: Apache-2.0
"""Whether a reward model tells what followed from other users' lists.

    config.evals.reward = {"name": "evaluation.ListAuc",
                           "users": {"name": "dataset.UserPart", "part": 1}}

    list_auc            of validation: P(r of a list that followed > r of
                        another user's)
    list_auc_written    likewise of what retrievers wrote, where the layout has
                        such lists

Each list of a part stands beside lists of other users of the same month and
part, drawn once by the run's seed (data/layouts/labelled_lists.py). The users
are others than those whose lists train: what is learnt of a user's own past
baskets would pass for knowing lists. Coins have .5.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.dataset.target_lists import lists_of_part
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.list_rewards import check_rewards, rewards_of
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics.auc import area


@dataclasses.dataclass(frozen=True)
class ListAuc(Unwatched):
  """See the module docstring.

  Attributes:
    users: whose lists are measured, none of the layout's `users`.
  """

  users: UserPart

  @property
  def names(self) -> tuple[str, ...]:
    """What training may watch."""
    return ("list_auc", "list_auc_written")

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run has no reward of lists to be measured,
    or would be measured on users that it is trained on."""
    check_rewards(run)
    trained = run.pipeline.layout.users
    if trained is None or not trained.apart(self.users):
      raise ValueError(
        f"evaluation.ListAuc.users={self.users} and config.pipeline.layout"
        f".users={trained} must be different parts of one draw: a reward model"
        " is measured on users that it was not trained on."
      )
    found = self._auc(run, None, "validation") if watched else {}
    for name in watched:
      if found.get(name) is None:
        raise ValueError(
          f"config.train.monitor={name} is not defined: no user of"
          " evaluation.ListAuc.users has a list in the validation part, and"
          " beside it another of its month or, for list_auc_written, one of"
          " config.pipeline.layout.written."
        )

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """The AUC of the validation part, where it is defined."""
    del program
    found = self._auc(run, params, "validation")
    return {n: found[n] for n in self.names if found.get(n) is not None}

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """{"metrics": {PART: {"list_auc", "lists"}}}."""
    del baselines
    found = {part: self._auc(run, loaded.params, part) for part in PARTS}
    return {"metrics": found}, None

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    lines = []
    for part, found in document["metrics"].items():
      for name in self.names:
        if name in found:
          auc = found[name]
          said = "not defined" if auc is None else f"{auc:.4f}"
          lines.append(f"{part}: {name} {said}, {found['lists']:,} lists")
    return "\n".join(lines)

  def _auc(self, run: Run, params: Any, part: str) -> dict[str, Any]:
    """Of a part; None for params gives all lists the same reward."""
    layout, size = run.pipeline.layout, run.requests.batch_size
    pairs = [
      *lists_of_part(
        run.histories, part, layout.lists, layout.wanted, self.users
      )
    ]
    if not pairs:
      return {"list_auc": None, "lists": 0}
    lists_UNJ = layout.held_out(pairs, run.seed)
    there_UN = lists_UNJ[:, :, 0] > 0
    rewards_UN = np.zeros(there_UN.shape)
    if params is not None:
      rewards = rewards_of(run, params)
      for start in range(0, len(pairs), size):
        rows = slice(start, start + size)
        requests = make_requests([(r, x.end) for r, x in pairs[rows]])
        rewards_UN[rows] = rewards(requests, lists_UNJ[rows])
    followed_UN = np.zeros(there_UN.shape, bool)
    followed_UN[:, 0] = True
    first = 1 + layout.others
    found = {"list_auc": np.arange(first)}
    if layout.written:
      found["list_auc_written"] = np.r_[0, first : layout.num_lists]
    aucs = {
      name: area(
        rewards_UN[:, kind][there_UN[:, kind]],
        followed_UN[:, kind][there_UN[:, kind]],
      )
      for name, kind in found.items()
    }
    return {**aucs, "lists": len(pairs)}
