# SPDX-License-Identifier: Apache-2.0
"""The life of a table of item tokens: made, grown, retired, moved, refused."""

import dataclasses
import json
import shutil
import subprocess
import sys

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from genrec_jax.semantic_ids.uniqueness import DedupLevel, RandomLastLevel

_TOKENIZER = ResidualKMeans((8, 4), iterations=3)
_TITLES = {f"i{n}": "abcdefghij"[n % 10] * (1 + n // 10) for n in range(24)}
_NEW = {"new": "aabb", "twin": "a", "other twin": "a"}


@pytest.fixture
def table(tmp_path, make_vectors):
  return ItemTokens.make(
    tmp_path / "tokens", make_vectors(_TITLES), _TOKENIZER, DedupLevel(12)
  )


@pytest.mark.slow
def test_codes_are_those_of_tokenizer_and_rule(table, make_vectors):
  vectors = make_vectors(_TITLES)
  codes = table.tokenizer().encode(vectors.for_catalog(table.item_ids[1:]))
  assert table.level_sizes == (8, 4, 12)
  np.testing.assert_array_equal(table.codes[1:, :2], codes)
  assert len(np.unique(table.codes[1:], axis=0)) == 24
  assert not table.codes[0].any() and not table.live[0] and table.live[1:].all()
  assert table.item_ids[0] == "" and table.revision == 1


def test_new_items_change_no_code_and_no_version(table, make_vectors):
  vectors = make_vectors(_TITLES | _NEW)
  grown = table.assign(list(_NEW), vectors)
  assert grown.version == table.version and grown.revision == 2
  np.testing.assert_array_equal(grown.codes[:25], table.codes)
  assert len(np.unique(grown.codes[1:], axis=0)) == 27
  # The prefix is the frozen tokenizer's; i0 has the text of the twins.
  same = grown.for_catalog(["i0", "twin", "other twin"])[:, :2]
  assert (same == same[:1]).all()
  again = ItemTokens.load(table.directory)
  np.testing.assert_array_equal(again.codes, grown.codes)
  assert again.item_ids == grown.item_ids and again.head == grown.head


def test_codes_in_the_order_of_another_catalogue(table):
  ids = ["", *reversed(table.item_ids[1:])]
  np.testing.assert_array_equal(
    table.for_catalog(ids)[1:], table.codes[1:][::-1]
  )
  with pytest.raises(ValueError, match="1 of 2 items have no codes.*'x y'"):
    table.for_catalog(["i1", "x y"])
  lacking = table.for_catalog(["x y", "i1"], missing="zeros")
  np.testing.assert_array_equal(lacking, table.codes[[0, 2]])
  assert table.live_for(["x y", "i1", ""]).tolist() == [False, True, False]


def test_retired_codes_are_not_given_away_and_come_back(table, make_vectors):
  vectors = make_vectors(_TITLES | _NEW)
  retired = table.retire(["i0"])
  assert not retired.live_for(["i0"])[0]
  assert retired.live_for(["i1"])[0] and retired.version == table.version
  grown = retired.assign(["twin"], vectors)
  old, twin = grown.for_catalog(["i0", "twin"])
  assert (old == table.codes[1]).all() and (old != twin).any()
  back = grown.assign(["i0", "new"], vectors)
  assert back.live_for(["i0", "new"]).all()
  np.testing.assert_array_equal(back.for_catalog(["i0"])[0], old)
  kinds = [entry["kind"] for entry in back.history]
  assert kinds == ["made", "retired", "assigned", "assigned"]
  with pytest.raises(ValueError, match="'i0'"):
    back.retire(["i0"]).retire(["i0"])


def test_retired_codes_are_given_away_when_asked(table, make_vectors):
  grown = table.retire(["i0"]).assign(
    ["twin"], make_vectors(_TITLES | _NEW), reuse_retired=True
  )
  old, twin = grown.for_catalog(["i0", "twin"])
  np.testing.assert_array_equal(old, twin)
  with pytest.raises(ValueError, match="'i0' belong to another item now"):
    grown.assign(["i0"], make_vectors(_TITLES | _NEW))


@pytest.mark.slow
def test_held_out_items_get_their_codes_later(tmp_path, make_vectors):
  vectors = make_vectors(_TITLES)
  part = ItemTokens.make(
    tmp_path / "part",
    vectors,
    _TOKENIZER,
    DedupLevel(12),
    hold_out=["i3", "i7"],
  )
  assert not part.live_for(["i3", "i7"]).any() and len(part.codes) == 23
  whole = part.assign(["i3", "i7"], vectors)
  assert whole.live_for(list(_TITLES)).all()
  with pytest.raises(ValueError, match="no vector.*'nobody'"):
    ItemTokens.make(
      tmp_path / "x", vectors, _TOKENIZER, None, hold_out=["nobody"]
    )


def test_another_version_is_refused_with_both_names(table, make_vectors):
  table.check(table.version)
  other = ItemTokens.make(
    table.directory.with_name("other"),
    make_vectors(_TITLES),
    _TOKENIZER,
    RandomLastLevel(share_overflow=True),
  )
  assert other.version != table.version
  with pytest.raises(ValueError, match="run x") as raised:
    other.check(table.version, "run x")
  assert table.version in str(raised.value)
  assert other.version in str(raised.value)


def test_version_is_of_contents_not_of_places(table, make_vectors, tmp_path):
  twin = ItemTokens.make(
    tmp_path / "elsewhere", make_vectors(_TITLES), _TOKENIZER, DedupLevel(12)
  )
  assert twin.version == table.version
  more = dict(_TITLES, i0="jj")
  assert (
    ItemTokens.make(
      tmp_path / "more", make_vectors(more), _TOKENIZER, DedupLevel(12)
    ).version
    != table.version
  )


def test_tables_that_grew_apart_are_told_apart(table, make_vectors, tmp_path):
  shutil.copytree(table.directory, tmp_path / "copy")
  vectors = make_vectors(_TITLES | _NEW)
  one = table.assign(["new"], vectors)
  other = ItemTokens.load(tmp_path / "copy").assign(["twin"], vectors)
  more = one.assign(["twin"], vectors)
  more.check_extends(one.revision, one.head)
  with pytest.raises(ValueError, match="two copies of one table"):
    other.check_extends(one.revision, one.head)
  with pytest.raises(ValueError, match="at revision 2 only"):
    other.check_extends(more.revision, more.head)


def test_wrong_items_and_vectors_are_refused(table, make_vectors):
  vectors = make_vectors(_TITLES | _NEW)
  with pytest.raises(ValueError, match="never change, such as 'i2'"):
    table.assign(["new", "i2"], vectors)
  with pytest.raises(ValueError, match="must not be empty or repeat"):
    table.assign(["new", "new"], vectors)
  other = make_vectors(_TITLES | _NEW, letters="jihgfedcba")
  with pytest.raises(ValueError, match="space") as raised:
    table.assign(["new"], other)
  assert vectors.space in str(raised.value) and other.space in str(raised.value)
  assert ItemTokens.load(table.directory).revision == 1


def test_a_full_group_is_an_error_and_changes_nothing(table, make_vectors):
  crowd = {f"c{n}": "a" for n in range(13)}
  with pytest.raises(ValueError, match="last level has 12 codes"):
    table.assign(list(crowd), make_vectors(_TITLES | crowd))
  assert ItemTokens.load(table.directory).revision == 1


def test_a_table_changed_by_another_process_is_not_overwritten(
  table, make_vectors
):
  vectors = make_vectors(_TITLES | _NEW)
  stale = ItemTokens.load(table.directory)
  table.assign(["new"], vectors)
  with pytest.raises(ValueError, match="at revision 2, this was loaded at 1"):
    stale.retire(["i0"])


def test_a_crash_before_the_history_is_written_changes_nothing(
  table, make_vectors, monkeypatch
):
  vectors = make_vectors(_TITLES | _NEW)

  def crash(*_):
    raise OSError("disk full")

  with monkeypatch.context() as patched:
    patched.setattr("genrec_jax.core.atomic.write_text", crash)
    with pytest.raises(OSError, match="disk full"):
      table.assign(["new"], vectors)
  after = ItemTokens.load(table.directory)
  assert after.revision == 1 and "new" not in after.item_ids
  assert after.assign(["twin"], vectors).item_ids[-1] == "twin"


def test_damage_is_named(table, make_vectors):
  table.assign(["new"], make_vectors(_TITLES | _NEW))
  history = table.directory / "history.jsonl"
  kept = history.read_text()
  lines = kept.splitlines()
  entry = json.loads(lines[0])
  history.write_text(json.dumps({**entry, "items": 3}) + "\n" + lines[1] + "\n")
  with pytest.raises(ValueError, match="line 2 .* append-only"):
    ItemTokens.load(table.directory)
  history.write_text(kept)
  path = table.directory / "revisions" / "000002.npz"
  data = path.read_bytes()
  path.write_bytes(data[:-30])
  with pytest.raises(ValueError, match="000002.npz"):
    ItemTokens.load(table.directory)
  shutil.copy(table.directory / "revisions" / "000001.npz", path)
  with pytest.raises(ValueError, match="000002.npz is not what"):
    ItemTokens.load(table.directory)
  path.write_bytes(data)
  weights = table.directory / "tokenizer" / "tokenizer.npz"
  weights.write_bytes(weights.read_bytes()[:-1])
  with pytest.raises(ValueError, match="tokenizer.npz is not what"):
    ItemTokens.load(table.directory)


def test_codes_are_read_without_the_tokenizer(table):
  """The rules of the format, with NumPy alone."""
  code = (
    "import json, pathlib, sys, numpy as np\n"
    "d = pathlib.Path(sys.argv[1])\n"
    "n = len((d / 'history.jsonl').read_text().splitlines())\n"
    "for i in range(1, n + 1):\n"
    "  f = np.load(d / 'revisions' / f'{i:06d}.npz', allow_pickle=False)\n"
    "  print(f['item_ids'][0], f['codes'][0].tolist())\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code, str(table.directory)],
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == f"i0 {table.codes[1].tolist()}\n"


@dataclasses.dataclass(frozen=True)
class _FromRun:
  """A tokenizer that was trained on vectors of one version."""

  vectors_version: str = "1234"

  def fit(self, vectors_ND, *, seed):
    raise AssertionError("must not be reached")


def test_a_tokenizer_of_other_vectors_is_refused(tmp_path, make_vectors):
  vectors = make_vectors(_TITLES)
  with pytest.raises(ValueError, match="trained with the vectors 1234") as e:
    ItemTokens.make(tmp_path / "tokens", vectors, _FromRun())
  assert vectors.version in str(e.value)
  assert not (tmp_path / "tokens").exists()


@pytest.mark.slow
@settings(max_examples=6)
@given(
  steps=st.lists(
    st.tuples(st.booleans(), st.sets(st.integers(0, 19), min_size=1)),
    max_size=6,
  )
)
def test_any_history_of_changes(tmp_path_factory, steps):
  """Codes never change, live codes differ, and loading replays the same."""
  folder = tmp_path_factory.mktemp("life")
  vectors = _vectors(folder)
  ids = vectors.item_ids[1:]
  table = ItemTokens.make(
    folder / "tokens", vectors, _TOKENIZER, DedupLevel(32), hold_out=ids[12:]
  )
  first: dict[str, tuple] = {}
  for add, numbers in steps:
    live = table.live_for(ids)
    change = [ids[n] for n in sorted(numbers) if live[n] != add]
    if not change:
      continue
    table = table.assign(change, vectors) if add else table.retire(change)
    for name, codes in zip(table.item_ids, table.codes.tolist(), strict=True):
      assert first.setdefault(name, tuple(codes)) == tuple(codes)
    assert (table.live_for(change) == add).all()
  live = table.codes[table.live]
  assert len(np.unique(live, axis=0)) == len(live)
  again = ItemTokens.load(table.directory)
  np.testing.assert_array_equal(again.codes, table.codes)
  np.testing.assert_array_equal(again.live, table.live)


def _vectors(folder):
  from genrec_jax.content.item_vectors import ItemVectors

  rng = np.random.default_rng(0)
  return ItemVectors(
    vectors=np.concatenate(
      [np.zeros((1, 3)), rng.integers(0, 2, (20, 3))]
    ).astype(np.float32),
    item_ids=["", *(f"i{n}" for n in range(20))],
    version="v",
    space="s",
    manifest={"encoder": {}, "template": "{title}"},
  )
