# SPDX-License-Identifier: Apache-2.0
"""Random batches are what layouts make, within the tables of their systems."""

import numpy as np
import pytest

from configs import (
  genrank_kuairand,
  hstu_long,
  tiger_amazon,
  two_tower_kuairand,
)
from genrec_jax.bench.batches import full_batch
from genrec_jax.core.build import build_options
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.experiment.sections import check_config


def _pipeline(module, variants="quicktest"):
  config = check_config(module.get_config(variants))
  return config, build_options(
    PipelineOptions, config["pipeline"], where="config.pipeline"
  )


def test_every_row_of_next_items_is_one_user():
  _, pipeline = _pipeline(hstu_long)
  batch = full_batch(pipeline, events=20, num_items=9)
  segments = batch["segment_ids_BL"]
  assert (segments[:, :20] == 1).all() and not segments[:, 20:].any()
  items, labels = batch["item_BL"][:, :20], batch["label_BL"][:, :20]
  assert items.min() >= 1 and items.max() <= 9
  np.testing.assert_array_equal(items[:, 1:], labels[:, :-1])
  assert (np.diff(batch["time_BL"][:, :20]) >= 0).all()


def test_prefixes_are_packed_and_have_targets():
  config, pipeline = _pipeline(tiger_amazon)
  batch = full_batch(pipeline, events=6, num_items=50)
  assert batch["segment_ids_BL"].shape == (8, 40)
  # Three prefixes a user; a row of 40 tokens holds several of them.
  assert (batch["segment_ids_BL"].max(axis=1) > 1).all()
  there = batch["target_item_BS"] > 0
  np.testing.assert_array_equal(there, batch["target_segment_BS"] > 0)
  assert batch["target_item_BS"].max() <= 50
  sizes = np.array(config["system"]["level_sizes"])
  assert (batch["target_codes_BSM"][there] < sizes).all()
  assert batch["token_BL"].max() < sizes.sum()
  assert batch["target_codes_BSM"][there].any()


def test_requests_have_labels_and_features_of_all_rows():
  config, pipeline = _pipeline(genrank_kuairand)
  batch = full_batch(pipeline, events=14, num_items=50)
  labelled = batch["labelled_BL"] > 0
  assert labelled.any(axis=1).all()
  assert len(np.unique(batch["label_BL"][labelled])) > 2
  rows = np.array(config["system"]["feature_rows"])
  features = batch["features_BLF"]
  assert features.shape[-1] == len(rows) and (features < rows).all()
  assert (features.max(axis=(0, 1)) > 0).all()
  history = rows[list(config["system"]["history_columns"])]
  assert (batch["item_features_BLG"] < history).all()


def test_a_layout_without_batches_is_named():
  _, pipeline = _pipeline(two_tower_kuairand)
  with pytest.raises(ValueError, match="no random batches for the layout"):
    full_batch(pipeline, events=5, num_items=50)
