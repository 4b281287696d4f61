# SPDX-License-Identifier: Apache-2.0
"""A ranker whose model is a formula, on simulated data."""

import types

import numpy as np

from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.splits import GlobalTime
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.serving.ranker import Ranker

FEEDBACK = Feedback(("cart", "purchase"))


class Formula:
  """P(cart) falls with an item's number and with its category in the history,
  P(purchase) is 0.6 where the last event was a purchase.

  Attributes:
    tires: by how much, per event of the same category; 0 reads no history.
    seen: histories that it was asked behind.
  """

  def __init__(self, categories, tires):
    self.categories, self.tires, self.seen = categories, tires, []

  def __call__(self, request):
    record, items = request.history[0], request.candidates[0]
    self.seen.append(record)
    same_NM = (
      self.categories[items][:, None]
      == (self.categories[record["item"]][None, :])
    )
    cart_N = (0.9 - items / 100) * np.exp(-self.tires * same_NM.sum(axis=1))
    bought = len(record["item"]) > 0 and record["action"][-1] == 3
    purchase_N = np.full(len(items), 0.6 if bought and self.tires else 0.1)
    p_NT = np.stack([cart_N, purchase_N], axis=1)
    return (np.log(p_NT) - np.log1p(-p_NT))[None]


def prepared(directory) -> Histories:
  """A data set of 20 users; its actions are '', view, cart, purchase."""
  data = Synthetic(num_users=20, num_items=30, seed=0)
  prepare(data, GlobalTime(), directory)
  return Histories(directory)


def formula_ranker(histories, tires=0.5) -> Ranker:
  """A ranker by the formula; ranker.scorer.score_fn is the Formula."""
  attributes = Catalog(histories.directory).attributes
  names = ["", *attributes["category"].to_list()]
  formula = Formula(np.unique(names, return_inverse=True)[1], tires)
  layout = types.SimpleNamespace(
    feedback=FEEDBACK, impression_batch=lambda request: request
  )
  scorer = CandidateScorer(layout, formula, None, None, micro_batch=64)
  return Ranker(scorer, FEEDBACK.tasks, histories)
