# SPDX-License-Identifier: Apache-2.0
"""Any order of assign and retire: live items never share codes.

The model of a table is a dict of codes by id and a set of live ids, and says of
every change beforehand whether it must fail. Six items, five of them at one
place with three last codes: groups fill up, empty and fill again.
"""

import functools
import pathlib
import shutil
import tempfile

from hypothesis import settings, stateful, strategies as st
import numpy as np
import pytest

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from genrec_jax.semantic_ids.uniqueness import (
  DedupLevel,
  RandomLastLevel,
  SinkhornLastLevel,
)

_IDS = [f"i{n}" for n in range(6)]
_MADE = 3
_RULES = {
  "dedup": DedupLevel(3),
  "random": RandomLastLevel(),
  "all random": RandomLastLevel(keep_nearest=False),
  "shared overflow": RandomLastLevel(share_overflow=True),
  "sinkhorn": SinkhornLastLevel(rounds=5),
}
_SOME = st.lists(st.sampled_from(_IDS), min_size=1, max_size=3, unique=True)
each = pytest.mark.parametrize("name", _RULES)


def _vectors() -> ItemVectors:
  return ItemVectors(
    vectors=np.float32([0, 0, 9, 1, 1, 2, 0])[:, None],
    item_ids=["", *_IDS],
    version="v",
    space="s",
    manifest={"encoder": {}, "template": "{title}"},
  )


@functools.cache
def _made(name: str) -> tuple[tempfile.TemporaryDirectory, np.ndarray]:
  """A folder with the table of the first items, and everybody's prefix."""
  folder = tempfile.TemporaryDirectory()
  sizes = (2,) if name == "dedup" else (2, 3)
  table = ItemTokens.make(
    pathlib.Path(folder.name) / "tokens",
    _vectors(),
    ResidualKMeans(sizes, iterations=2),
    _RULES[name],
    hold_out=_IDS[_MADE:],
  )
  prefix_N = table.tokenizer().encode(_vectors().vectors[1:])[:, 0]
  return folder, prefix_N


class _Life(stateful.RuleBasedStateMachine):
  """One table and its model."""

  @stateful.initialize(name=st.sampled_from(list(_RULES)))
  def make(self, name):
    made, prefix_N = _made(name)
    self.folder = tempfile.TemporaryDirectory()
    shutil.copytree(made.name, self.folder.name, dirs_exist_ok=True)
    self.table = ItemTokens.load(pathlib.Path(self.folder.name) / "tokens")
    self.vectors = _vectors()
    self.shares = _RULES[name].share_overflow
    self.prefix = dict(zip(_IDS, prefix_N.tolist(), strict=True))
    self.codes = {
      n: tuple(self.table.for_catalog([n])[0].tolist()) for n in _IDS[:_MADE]
    }
    self.live = set(self.codes)

  def teardown(self):
    if hasattr(self, "folder"):
      self.folder.cleanup()

  @stateful.rule(names=_SOME, reuse=st.booleans())
  def assign(self, names, reuse):
    names = [n for n in names if n not in self.live]
    if not names:
      return
    problem = self.problem(names, reuse)
    if problem:
      with pytest.raises(ValueError, match=problem):
        self.table.assign(names, self.vectors, reuse_retired=reuse)
      self.table = ItemTokens.load(self.table.directory)
      return
    self.table = self.table.assign(names, self.vectors, reuse_retired=reuse)
    for name in names:
      found = tuple(self.table.for_catalog([name])[0].tolist())
      assert self.codes.setdefault(name, found) == found
      assert found[0] == self.prefix[name]
    self.live.update(names)

  def problem(self, names, reuse):
    """What must go wrong, or None."""
    if self.shares:
      return None
    back = [self.codes[n] for n in names if n in self.codes]
    held = [self.codes[n] for n in self.live] + back
    if len(set(held)) < len(held):
      return "cannot both be live"
    taken = set(held if reuse else self.codes.values())
    new = [self.prefix[n] for n in names if n not in self.codes]
    for prefix in set(new):
      used = sum(codes[0] == prefix for codes in taken)
      if used + new.count(prefix) > 3:
        return "last level has 3 codes"
    return None

  @stateful.rule(names=_SOME)
  def retire(self, names):
    names = [n for n in names if n in self.live]
    if names:
      self.table = self.table.retire(names)
      self.live.difference_update(names)

  @stateful.invariant()
  def table_is_the_model(self):
    if not hasattr(self, "table"):
      return
    table = self.table
    there = zip(table.item_ids[1:], table.codes[1:].tolist(), strict=True)
    assert {n: tuple(codes) for n, codes in there} == self.codes
    assert {n for n in _IDS if table.live_for([n])[0]} == self.live
    live = [self.codes[n] for n in self.live]
    assert self.shares or len(set(live)) == len(live)


_Life.TestCase.settings = settings(max_examples=60, stateful_step_count=8)
TestLife = _Life.TestCase


@pytest.fixture
def life():
  machine = _Life()
  yield machine
  machine.teardown()


def _twin(life) -> str:
  """A new item with the place of i0."""
  return next(n for n in _IDS[_MADE:] if life.prefix[n] == life.prefix["i0"])


@each
def test_codes_that_come_back_are_not_given_away_in_the_same_call(life, name):
  life.make(name)
  twin = _twin(life)
  table = life.table.retire(["i0"])
  table = table.assign(["i0", twin], life.vectors, reuse_retired=True)
  a, b = table.for_catalog(["i0", twin])
  assert (a == life.codes["i0"]).all() and (a != b).any()


def test_two_retired_items_with_the_same_codes_do_not_both_come_back(life):
  life.make("dedup")
  twin = _twin(life)
  table = life.table.retire(["i0"])
  table = table.assign([twin], life.vectors, reuse_retired=True)
  np.testing.assert_array_equal(*table.for_catalog(["i0", twin]))
  table = table.retire([twin])
  for reuse in (False, True):
    with pytest.raises(ValueError, match=f"'{twin}' .*'i0'.*both be live"):
      table.assign(["i0", twin], life.vectors, reuse_retired=reuse)
  # One of them may, and then the other may not.
  table = table.assign(["i0"], life.vectors)
  with pytest.raises(ValueError, match="both be live"):
    table.assign([twin], life.vectors)


def test_a_code_that_two_retired_items_have_takes_one_place(life):
  life.make("dedup")
  twin = _twin(life)
  table = life.table.retire(["i0"])
  table = table.assign([twin], life.vectors, reuse_retired=True)
  same = [n for n in _IDS if life.prefix[n] == life.prefix["i0"]]
  new = [n for n in same if n not in table.item_ids]
  # i0 and another item of its place were made: one code of three is free.
  assert len(set(same) & set(_IDS[:_MADE])) == 2 and new
  table = table.assign(new[:1], life.vectors)
  assert len(np.unique(table.codes[table.live], axis=0)) == table.live.sum()


def test_items_that_share_an_overflow_come_back_to_it(life):
  life.make("shared overflow")
  table = life.table.assign(_IDS[_MADE:], life.vectors)
  before = table.for_catalog(_IDS)
  assert len(np.unique(before, axis=0)) < len(before)
  table = table.retire(_IDS).assign(_IDS, life.vectors)
  np.testing.assert_array_equal(table.for_catalog(_IDS), before)
