# SPDX-License-Identifier: Apache-2.0
"""scripts/evaluate.py changes options of evaluators for one time."""

import dataclasses
import importlib.util
import pathlib
import re

import pytest

from genrec_jax.core.build import build

_PATH = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "evaluate.py"


@pytest.fixture(scope="module")
def script():
  # Under absl, flags that another script of this process has are an error.
  from absl import flags

  names = re.findall(r'DEFINE_\w+\(\s*"(\w+)"', _PATH.read_text("utf-8"))
  theirs = {n: flags.FLAGS[n] for n in names if n in flags.FLAGS}
  for name in theirs:
    delattr(flags.FLAGS, name)
  spec = importlib.util.spec_from_file_location("evaluate_script", _PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  yield module
  for name in names:
    delattr(flags.FLAGS, name)
  for name, flag in theirs.items():
    flags.FLAGS[name] = flag


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
