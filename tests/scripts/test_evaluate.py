# SPDX-License-Identifier: Apache-2.0
"""scripts/evaluate.py changes options of evaluators for one time."""

import dataclasses
import importlib.util
import pathlib

import pytest

from genrec_jax.core.build import build

_PATH = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "evaluate.py"


@pytest.fixture(scope="module")
def script():
  # Its flags are defined anew: under absl that is an error in one process.
  from absl import flags

  known = set(flags.FLAGS)
  spec = importlib.util.spec_from_file_location("evaluate_script", _PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  yield module
  for name in set(flags.FLAGS) - known:
    delattr(flags.FLAGS, name)


@dataclasses.dataclass(frozen=True)
class _Evals:
  """What is read of a run."""

  evals: dict


def test_options_are_read_and_wrong_ones_named(script):
  evals = {"next_item": build({"name": "evaluation.NextItem"})}
  run = _Evals(evals)
  texts = ["next_item.ks=[1, 7]", "next_item.retriever=scann"]
  changed = script.with_options(run, texts).evals["next_item"]
  assert (changed.ks, changed.retriever) == ((1, 7), "scann")
  assert evals["next_item"].retriever is None
  for text, said in (
    ("next_itm.ks=[1]", "Did you mean 'next_item'"),
    ("next_item.retrievr=scann", "Did you mean 'retriever'"),
    ("next_item.ks", "must be NAME.OPTION=VALUE"),
  ):
    with pytest.raises(ValueError, match=said):
      script.with_options(run, [text])
