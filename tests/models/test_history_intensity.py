# SPDX-License-Identifier: Apache-2.0
"""What a softmax over the history costs where the number of events counts.

A click has probability s(COUNT - 3), COUNT: events of the candidate's category
among 1 to 20. A weighted sum can count; a weighted mean knows shares alone
(DIN, KDD 2018, section 4.3, and why it takes no softmax).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genrec_jax.layers.history_pooling import TargetAttention
from genrec_jax.layers.interactions import Concat
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step

_SHAPE, _H, _CATEGORIES = (8, 64), 20, 5


def _batch(seed):
  rng = np.random.default_rng(seed)
  length = rng.integers(1, _H + 1, _SHAPE)
  where = np.arange(_H)[None, None, :] < length[..., None]
  # Users differ in how much of their history is of the candidate's category.
  share = rng.random(_SHAPE)[..., None]
  category = rng.integers(1, _CATEGORIES + 1, _SHAPE)
  events = rng.integers(1, _CATEGORIES + 1, (*_SHAPE, _H))
  events = np.where(
    rng.random(events.shape) < share, category[..., None], events
  )
  count = ((events == category[..., None]) & where).sum(-1)
  click = rng.random(_SHAPE) < 1 / (1 + np.exp(3.0 - count))
  arrays = {
    "features_BLF": category[..., None],
    "history_features_BLHG": (events * where)[..., None],
    "history_item_BLH": where,
    "history_action_BLH": where,
    "label_BL": click,
    "labelled_BL": np.ones(_SHAPE),
    "segment_ids_BL": np.ones(_SHAPE),
  }
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}, count


def _auc(softmax):
  system = FeatureRanker(
    num_items=_CATEGORIES,
    num_tasks=1,
    num_actions=1,
    feature_rows=(_CATEGORIES + 1,),
    history_columns=(0,),
    width=4,
    pooling=TargetAttention((16,), softmax=softmax),
    interactions=Concat(),
    tower_widths=(32,),
    embedding_init_std=0.3,
  )
  optimizer = adamw(1e-2)
  params = init_params(system, _batch(0)[0], jax.random.key(0))
  state = init_state(params, optimizer)
  step = jax.jit(
    make_train_step(
      system, BinaryCrossEntropy(("click",)), optimizer, jax.random.key(0)
    )
  )
  for i in range(300):
    state, _ = step(state, _batch(i)[0])
  scores, labels, counts = [], [], []
  for seed in range(1000, 1010):
    batch, count = _batch(seed)
    logits = system.apply({"params": state.params}, batch, method="score")
    scores.append(np.asarray(logits)[..., 0].ravel())
    labels.append(np.asarray(batch["label_BL"]).ravel())
    counts.append(count.ravel())
  labels, counts = np.concatenate(labels), np.concatenate(counts)
  return roc_auc_score(labels, np.concatenate(scores)), roc_auc_score(
    labels, counts
  )


@pytest.mark.slow
def test_without_a_softmax_the_number_of_events_is_known():
  summed, best = _auc(softmax=False)
  averaged, _ = _auc(softmax=True)
  print(f"AUC {summed:.4f} summed, {averaged:.4f} averaged, {best:.4f} at best")
  assert summed > best - 0.01
  assert summed > averaged + 0.02
