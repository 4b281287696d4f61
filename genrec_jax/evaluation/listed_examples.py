# SPDX-License-Identifier: Apache-2.0
"""Lists of a few requests in words, with the probability of each action.

    [{"user": 7, "next": title,
      "items": [{"title": t, "value": v, "probabilities": {TASK: p}}, ...]}]

Probabilities are those that an item was placed by: of a list that is made place
by place, behind the items before it. Users are named by their index: documents
go further than the data do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from genrec_jax.data.dataset.requests import Requests


def listed_examples(
  requests: Requests,
  found: tuple[np.ndarray, np.ndarray, dict[str, Any]],
  tasks: Sequence[str],
  titles: Sequence[str],
  *,
  requests_shown: int = 3,
  places_shown: int = 10,
) -> list[dict[str, Any]]:
  """The first requests.

  Args:
    requests: that were asked.
    found: ids, values, and among what else is said "probabilities" (B, K, T),
      as of ranking/two_stage.py.
    tasks: T names.
    titles: by item index.
    requests_shown: at most.
    places_shown: of each list, at most.
  """
  ids, values, said = found
  return [
    {
      "user": int(requests.user[row]),
      "next": titles[int(requests.target[row])],
      "items": [
        {
          "title": titles[int(item)],
          "value": float(values[row, place]),
          "probabilities": dict(
            zip(tasks, said["probabilities"][row, place].tolist(), strict=True)
          ),
        }
        for place, item in enumerate(ids[row, :places_shown])
        if item
      ],
    }
    for row in range(min(len(requests), requests_shown))
  ]
