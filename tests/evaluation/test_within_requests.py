# SPDX-License-Identifier: Apache-2.0
"""AUC within requests: scikit-learn's of each, and those that have none."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.search_log import SearchLog
from genrec_jax.data.splits import GlobalTime
from genrec_jax.evaluation.within_requests import WithinRequests
from genrec_jax.experiment.restored import Loaded
from tests.evaluation import toy_ranker as toy

_FEEDBACK = Feedback(("click",))


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  directory = tmp_path_factory.mktemp("search") / "data"
  source = SearchLog(
    num_users=25, num_documents=60, num_topics=3, topic_queries=4, shown=4
  )
  prepare(source, GlobalTime(), directory)
  return Histories(directory)


def _by_hand(histories, table, part):
  """(AUC or None, impressions) of every request, by loops."""
  click = histories.manifest.actions.index("click")
  asks = histories.manifest.actions.index("query|unasked")
  found = []
  for user in range(len(histories)):
    record = histories[user]
    events = histories.split.targets(record, part)
    numbers = request_numbers(record)
    for number in np.unique(numbers[events]):
      mine = [e for e in events if numbers[e] == number]
      mine = [e for e in mine if record["action"][e] != asks]
      done = record["action"][mine] == click
      scores = table[record["item"][mine], 0]
      both = 0 < done.sum() < len(done)
      found.append((roc_auc_score(done, scores) if both else None, len(mine)))
  return found


@pytest.mark.parametrize(("candidates", "batch"), [(4, 4), (3, 3)])
def test_it_is_the_mean_of_each_requests_own(histories, candidates, batch):
  """However many of a request are scored at a time."""
  run = toy.toy_run(
    histories, _FEEDBACK, num_candidates=candidates, batch_size=batch
  )
  rng = np.random.default_rng(0)
  # Ties, too.
  table = rng.integers(0, 5, (histories.manifest.num_items + 1, 1)) / 4
  evaluator = WithinRequests(_FEEDBACK)
  evaluator.check(run)
  loaded = Loaded(toy.params_of(table), "best", 1, {})
  document, kept = evaluator.measure(run, loaded)
  assert kept is None
  for part, tasks in document["metrics"].items():
    every = _by_hand(histories, table, part)
    there = [(auc, n) for auc, n in every if auc is not None]
    found = tasks["click"]
    assert found["requests"] == len(there) > 5
    assert found["one_class_requests"] == len(every) - len(there) > 0
    assert found["one_class_impressions"] == sum(
      n for auc, n in every if auc is None
    )
    aucs, counts = zip(*there, strict=True)
    assert found["qauc_plain"] == pytest.approx(np.mean(aucs))
    assert found["qauc"] == pytest.approx(np.average(aucs, weights=counts))
  assert "AUC of click within requests 0." in evaluator.text(document)


def test_what_nobody_can_order_is_not_defined(histories):
  run = toy.toy_run(histories, _FEEDBACK)
  evaluator = WithinRequests(Feedback(("skip_not",), min_value=2.0))
  with pytest.raises(ValueError, match="make them the same"):
    evaluator.check(run)
  nothing = {"qauc": None, "requests": 0, "one_class_requests": 7}
  text = WithinRequests(_FEEDBACK).text(
    {"metrics": {"test": {"click": nothing}}}
  )
  assert text == (
    "test: AUC of click within requests not defined; 0 with both outcomes, 7"
    " without"
  )
