# SPDX-License-Identifier: Apache-2.0
"""Parts of a run that do not agree are refused before anything is computed."""

import pytest

from genrec_jax.data import layouts
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.experiment.checks import check_tasks
from genrec_jax.objectives.combine import WeightedSum
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.objectives.softmax import FullSoftmax

_LAYOUT = layouts.Fused(Feedback(("click", "like")), 4)


@pytest.mark.parametrize("tasks", [("like", "click"), ("click", "share")])
def test_tasks_by_other_names_or_in_another_order_are_refused(tasks):
  """Their number is right, so that no shape would tell."""
  loss = BinaryCrossEntropy(tasks)
  both = WeightedSum({"action": loss}, {"action": 1.0})
  for objective in (loss, both):
    with pytest.raises(ValueError, match="must be the same, in the same order"):
      check_tasks(objective, _LAYOUT)
  check_tasks(BinaryCrossEntropy(("click", "like")), _LAYOUT)
  # Next items have no tasks, and their layouts no feedback.
  check_tasks(FullSoftmax(), _LAYOUT)
  with pytest.raises(ValueError, match=r"NextItem\) has no labels of any"):
    check_tasks(loss, layouts.NextItem(4))
