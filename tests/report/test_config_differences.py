# SPDX-License-Identifier: Apache-2.0
"""Differences of two configs: nothing equal is told, nothing else is missed."""

import pathlib
import re

import pytest

from configs import hstu_movielens, sasrec_movielens
from genrec_jax.cli import main
from genrec_jax.core.build import to_plain
from genrec_jax.core.dotted import flat
from genrec_jax.report.config_differences import differences

_OURS = {
  "seed": 0,
  "system": {
    "name": "models.NextItem",
    "width": 50,
    "backbone": {
      "name": "backbones.HSTU",
      "num_heads": 2,
      "attention": {"name": "layers.SiluAttention", "normalizer": 50.0},
    },
  },
  "evals": {"a": {"ks": (1, 10)}},
}
_THEIRS = {
  "seed": 0,
  "system": {
    "name": "models.NextItem",
    "width": 50,
    "backbone": {
      "name": "backbones.CausalTransformer",
      "num_heads": 1,
      "ffn_width": 50,
    },
  },
  "evals": {"a": {"ks": (1, 5)}},
  "title": "SASRec",
}


def test_the_difference_is_told_by_node():
  lines = [line.split() for line in differences(_OURS, _THEIRS).splitlines()]
  assert lines == [
    ["+", "title", "'SASRec'"],
    *(
      [
        "system.backbone",
        "backbones.HSTU",
        "->",
        "backbones.CausalTransformer",
      ],
      ["num_heads", "2", "->", "1"],
      ["-", "attention", "layers.SiluAttention(normalizer=50.0)"],
      ["+", "ffn_width", "50"],
    ),
    ["evals.a"],
    ["ks", "(1,", "10)", "->", "(1,", "5)"],
  ]
  assert differences(_OURS, _OURS) == ""


def test_every_value_that_differs_is_told_and_no_other(capsys):
  names = "hstu_movielens", "sasrec_movielens:quicktest"
  assert main.start(["compare", "--configs", *names]) == 0
  out = capsys.readouterr().out
  a = flat(to_plain(hstu_movielens.get_config()))
  b = flat(to_plain(sasrec_movielens.get_config("quicktest")))
  told = {line[2:].split()[0] for line in out.splitlines() if line[1:2] == " "}
  for key in a.keys() | b.keys():
    if a.get(key) != b.get(key):
      # By its own key, or inside of a node that only one has.
      assert set(key.split(".")) & told or key.endswith("name")
  shared = {k.split(".")[-1] for k in a if k in b and a[k] == b[k]}
  other = [k for k in a.keys() | b.keys() if a.get(k) != b.get(k)]
  differ = {k.split(".")[-1] for k in other}
  assert not told & (shared - differ)


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--configs", "hstu_movielens"], "was given 1"),
    (["--configs=hstu_movielens,hstu_movilens"], "no file hstu_movilens.*mean"),
    (["--configs=a,b", "--ours=c"], "stands alone"),
    (["--ours=c"], "give --ours and --theirs, or --configs"),
    (["hstu_movielens"], "is no flag"),
  ],
)
def test_what_cannot_be_compared(words, message, capsys):
  assert main.start(["compare", *words]) == 2
  assert re.search(message, capsys.readouterr().err)


def test_a_config_equals_itself_by_file_and_name(capsys):
  path = pathlib.Path(__file__).parents[2] / "configs" / "hstu_movielens.py"
  assert main.start(["compare", f"--configs={path},hstu_movielens"]) == 0
  assert "They are equal." in capsys.readouterr().out
