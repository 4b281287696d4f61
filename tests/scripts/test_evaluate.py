# SPDX-License-Identifier: Apache-2.0
"""scripts/evaluate.py changes options of evaluators for one time."""

import pytest

from genrec_jax.cli import evaluate
from genrec_jax.core.build import build


def test_options_are_read_and_wrong_ones_named():
  evals = {"next_item": build({"name": "evaluation.NextItem"})}
  texts = ["next_item.ks=[1, 7]", "next_item.retriever=scann"]
  changed = evaluate.with_options(evals, texts)["next_item"]
  assert (changed.ks, changed.retriever) == ((1, 7), "scann")
  assert evals["next_item"].retriever is None
  for text, said in (
    ("next_itm.ks=[1]", "Did you mean 'next_item'"),
    ("next_item.retrievr=scann", "Did you mean 'retriever'"),
    ("next_item.ks", "must be NAME.OPTION=VALUE"),
  ):
    with pytest.raises(ValueError, match=said):
      evaluate.with_options(evals, [text])
