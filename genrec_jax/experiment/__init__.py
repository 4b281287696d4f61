# SPDX-License-Identifier: Apache-2.0
"""What a config and a workdir stand for."""

from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.list_rewards import ListRewards
from genrec_jax.experiment.list_sources import (
  ItemKnnLists,
  PopularLists,
  RunLists,
)
from genrec_jax.experiment.made_lists import make_lists
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.restored import load_params
from genrec_jax.experiment.table_lists import TableLists
from genrec_jax.experiment.trained_items import TrainedItems
from genrec_jax.experiment.trained_tokenizer import TrainedTokenizer

__all__ = [
  "ItemKnnLists",
  "ListRewards",
  "PopularLists",
  "Program",
  "Run",
  "RunLists",
  "TableLists",
  "TrainedItems",
  "TrainedTokenizer",
  "load_params",
  "make_lists",
]
