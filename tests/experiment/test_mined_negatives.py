# SPDX-License-Identifier: Apache-2.0
"""Lists of other models: found point in time, stored, read by the layout."""

import numpy as np
import pytest

from configs import sasrec_amazon
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.negative_lists import NegativeLists
from genrec_jax.data.layouts import NextItem
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.experiment import mine_negatives, teacher_of, training
from genrec_jax.experiment.artifacts import KINDS, Artifacts
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import read_progress
from genrec_jax.train.termination import Termination

_USERS, _ITEMS, _N = 20, 30, 4
_SECTIONS = {kind.section: {} for kind in KINDS.values()}


def _after(history, k, step):
  """What a source answers: items behind the last one, and that one itself."""
  last = int(history["item"][-1])
  return [(last - 1 + step * n) % _ITEMS + 1 for n in range(k)]


def _source(step, **fact):
  def search(requests, k, allowed):
    ids = [_after(history, k, step) for history in requests.history]
    return np.array(ids), None, {}

  return search, {"step": step, **fact}


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data") / "data"
  source = Synthetic(num_users=_USERS, num_items=_ITEMS)
  prepare(source, LeaveOneOut(), folder)
  return Histories(folder)


def _mine(histories, directory, sources=None, **options):
  sources = sources or {"a": _source(1)}
  return mine_negatives(
    histories, sources, count=_N, directory=directory, batch_size=7, **options
  )


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_every_moment_has_the_list_of_what_was_known_then(
  histories, tmp_path, exclude_seen
):
  sources = {"a": _source(1), "b": _source(3)}
  made = _mine(histories, tmp_path / "n", sources, exclude_seen=exclude_seen)
  for user in range(_USERS):
    record = histories[user]
    end = histories.split.train_end(record)
    found = made.of_user(user, end - 1)
    assert len(found) == max(end - 1, 0)
    for event in range(end - 1):
      history = {"item": record["item"][: event + 1]}
      seen = {*history["item"].tolist()} if exclude_seen else set()
      turns = zip(*(_after(history, _ITEMS, s) for s in (1, 3)), strict=True)
      wanted = [i for pair in turns for i in pair if i not in seen]
      assert found[event].tolist() == list(dict.fromkeys(wanted))[:_N]
    # No list of what is held out, and none of the user behind.
    assert not made.of_user(user, end + 3)[max(end - 1, 0) :].any()


def test_what_comes_later_changes_no_list(histories, tmp_path):
  """Other events from the fourth on: the lists up to the third stay."""

  class Edited:
    manifest, split = histories.manifest, histories.split

    def __len__(self):
      return len(histories)

    def __getitem__(self, user):
      record = {**histories[user]}
      record["item"] = record["item"].copy()
      record["item"][3:] = record["item"][3:] % _ITEMS + 1
      return record

  as_it_is = _mine(histories, tmp_path / "a")
  other = mine_negatives(
    Edited(), {"a": _source(1)}, count=_N, directory=tmp_path / "b"
  )
  changed = 0
  for user in range(_USERS):
    end = histories.split.train_end(histories[user])
    one, two = (x.of_user(user, end - 1) for x in (as_it_is, other))
    np.testing.assert_array_equal(one[:3], two[:3])
    changed += (one[3:] != two[3:]).any()
  assert changed


def test_versions_name_contents_and_ages_are_days(histories, tmp_path):
  made = _mine(histories, tmp_path / "a")
  again = _mine(histories, tmp_path / "b")
  other = _mine(histories, tmp_path / "c", {"b": _source(3)})
  assert made.version == again.version != other.version
  assert made.age(made.manifest["made"] + 3 * 86_400) == 3.0
  assert 0 <= made.age() < 1
  assert made.manifest["sources"] == {"a": {"step": 1}}
  loaded = NegativeLists.load(tmp_path / "a")
  np.testing.assert_array_equal(loaded.lists, made.lists)


def _ones(rows):
  return np.ones((1, len(rows)), np.int32)


def _artifacts(histories, directory):
  sections = {**_SECTIONS, "negatives": {"directory": str(directory)}}
  return Artifacts.of(sections, directory.parent, histories)


def test_the_layout_puts_lists_beside_their_events(histories, tmp_path):
  made = _mine(histories, tmp_path / "n")
  artifacts = _artifacts(histories, tmp_path / "n")
  assert "negatives" not in artifacts.versions
  layout = NextItem(5, negatives=3).bind(artifacts)
  plain = NextItem(5)
  for user in range(_USERS):
    record = histories[user]
    end = histories.split.train_end(record)
    rows = layout.example(record, end)
    np.testing.assert_array_equal(rows[:, :5], plain.example(record, end))
    every = made.of_user(user, end - 1)
    np.testing.assert_array_equal(rows[:, 5:], every[-5:, :3])
    batch = layout.batch(rows[None], _ones(rows), rows[None, :, 0])
    np.testing.assert_array_equal(batch["negatives_BLN"][0], every[-5:, :3])
    assert (
      batch.keys() - {"negatives_BLN"}
      == plain.batch(rows[None, :, :5], _ones(rows), rows[None, :, 0]).keys()
    )
  assert artifacts.versions["negatives"] == made.version


def test_lists_that_do_not_fit_are_refused(histories, tmp_path):
  record, end = histories[0], histories.split.train_end(histories[0])
  missing = NextItem(5, negatives=2).bind(_artifacts(histories, tmp_path / "n"))
  with pytest.raises(ValueError, match="experiment.mine_negatives"):
    missing.example(record, end)
  _mine(histories, tmp_path / "n")
  longer = NextItem(5, negatives=5).bind(_artifacts(histories, tmp_path / "n"))
  with pytest.raises(ValueError, match="negatives=5, and the lists of"):
    longer.example(record, end)
  with pytest.raises(ValueError, match="negatives=-1 must be at least 0"):
    NextItem(5, negatives=-1)
  source = Synthetic(num_users=_USERS, num_items=_ITEMS, seed=1)
  prepare(source, LeaveOneOut(), tmp_path / "data")
  others = Histories(tmp_path / "data")
  of_others = NextItem(5, negatives=2).bind(_artifacts(others, tmp_path / "n"))
  with pytest.raises(ValueError, match="are of another data set"):
    of_others.example(others[0], others.split.train_end(others[0]))
  foreign = {"a": _source(1, fingerprint=others.manifest.fingerprint)}
  for sources, count, said in (
    (foreign, 2, "'a' was trained on another data set"),
    ({}, 2, "no source"),
    ({"a": _source(1)}, 0, "count=0 must be at least 1"),
    ({"a": _source(1)}, 31, "at most the 29 items"),
  ):
    with pytest.raises(ValueError, match=said):
      mine_negatives(
        histories, sources, count=count, directory=tmp_path / "never"
      )
  assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_a_run_teaches_the_next_one(tmp_path):
  c = sasrec_amazon.get_config("sampled-quicktest")
  teacher = Run.start(c, tmp_path / "teacher")
  training.train(teacher, Termination(), lambda: None)
  search, fact = teacher_of(teacher)
  made = mine_negatives(
    teacher.histories,
    {"sasrec": (search, fact)},
    count=6,
    directory=tmp_path / "run" / "negatives",
  )
  assert made.manifest["sources"]["sasrec"]["step"] == 3
  c.prepared = str(tmp_path / "teacher" / "data")
  c.pipeline.layout.negatives = 6
  c.objective.negatives = {
    "name": "objectives.Mixed",
    "parts": (
      {"name": "objectives.UniformShared", "count": 24},
      {
        "name": "objectives.PositiveAware",
        "negatives": {"name": "objectives.FromLists", "count": 8},
      },
    ),
  }
  run = Run.start(c, tmp_path / "run")
  training.train(run, Termination(), lambda: None)
  assert read_progress(run)["artifacts"]["negatives"] == made.version
