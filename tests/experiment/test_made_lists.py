# SPDX-License-Identifier: Apache-2.0
"""Lists of other retrievers: made point in time, stored, read by the layout."""

import dataclasses
import datetime

import numpy as np
import pytest

from configs import sasrec_amazon
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.retriever_lists import (
  NOTHING,
  UNKNOWN,
  RetrieverLists,
  by_turns,
  places_of,
)
from genrec_jax.data.layouts import EventLists, NextItem, SegmentWeights
from genrec_jax.data.layouts.segment_weights import gap_weights
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.experiment import (
  ItemKnnLists,
  PopularLists,
  RunLists,
  make_lists,
  training,
)
from genrec_jax.experiment.artifacts import KINDS, Artifacts
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.made_lists import Retriever, Returned
from genrec_jax.experiment.restored import read_progress
from genrec_jax.train.termination import Termination

_USERS, _ITEMS, _N = 20, 30, 4
_SECTIONS = {kind.section: {} for kind in KINDS.values()}


def _after(history, k, step):
  """What a source answers: items behind the last one, and that one itself."""
  last = int(history["item"][-1])
  return [(last - 1 + step * n) % _ITEMS + 1 for n in range(k)]


@dataclasses.dataclass(frozen=True)
class Steps:
  """A retriever that knows the last item; `until` in seconds after it."""

  step: int = 1
  until: int | None = None
  fingerprint: str = ""
  lacks: int = -1

  def open(self, histories):
    def ask(requests, k):
      ids = [_after(h, k, self.step) for h in requests.history]
      until = np.full(len(requests), NOTHING)
      if self.until is not None:
        until = requests.query_time.astype(np.int64) + self.until
        if self.until == UNKNOWN:
          until = np.full(len(requests), UNKNOWN)
      lacks = requests.user == self.lacks
      return Returned(np.array(ids), until, lacks)

    own = {"fingerprint": self.fingerprint} if self.fingerprint else {}
    return Retriever(ask, own)


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data") / "data"
  source = Synthetic(num_users=_USERS, num_items=_ITEMS)
  prepare(source, LeaveOneOut(), folder)
  return Histories(folder)


def _make(histories, directory, sources=None, **options):
  sources = sources or {"a": Steps(1)}
  options = {"count": _N, **options}
  return make_lists(
    histories, sources, directory=directory, batch_size=7, **options
  )


def _events(histories, user):
  """Every event that somebody has to find."""
  return np.arange(1, len(histories[user]["item"]))


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_every_request_has_the_lists_of_what_was_known_then(
  histories, tmp_path, exclude_seen
):
  sources = {"a": Steps(1), "b": Steps(3)}
  made = _make(histories, tmp_path / "n", sources, exclude_seen=exclude_seen)
  assert made.names == ("a", "b") and made.length == _N
  for user in range(_USERS):
    record = histories[user]
    found = made.of(user, _events(histories, user))
    for event in _events(histories, user):
      history = {"item": record["item"][:event]}
      seen = {*history["item"].tolist()} if exclude_seen else set()
      for r, step in enumerate((1, 3)):
        every = dict.fromkeys(_after(history, _ITEMS, step))
        wanted = [i for i in every if i not in seen][:_N]
        wanted += [0] * (_N - len(wanted))
        assert found[event - 1, r].tolist() == wanted
    with pytest.raises(ValueError, match="lack 1 of 1"):
      made.of(user, np.array([0]))


def test_parts_that_are_not_asked_for_are_lacking(histories, tmp_path):
  train = _make(histories, tmp_path / "a", parts=("train",))
  held = _make(histories, tmp_path / "b", parts=("validation", "test"))
  ends = [histories.split.train_end(histories[u]) for u in range(_USERS)]
  assert len(train.arrays.events) == sum(end - 1 for end in ends)
  assert len(held.arrays.events) == 2 * _USERS
  train.of(0, np.arange(1, ends[0]))
  for made, event in ((train, ends[0]), (held, ends[0] - 1)):
    with pytest.raises(ValueError, match=f"the first before event {event}"):
      made.of(0, np.array([event]))


class _Baskets(Histories):
  """Events of the same time, three by three."""

  def __getitem__(self, user):
    record = {**super().__getitem__(user)}
    record["time"] = record["time"][np.arange(len(record["time"])) // 3 * 3]
    return record


def test_of_a_moment_the_first_event_alone_is_asked(histories, tmp_path):
  whole = _make(histories, tmp_path / "a")
  made = _make(_Baskets(histories.directory), tmp_path / "b", moments=True)
  asked = [
    e for u in range(_USERS) for e in _events(histories, u) if e % 3 == 0
  ]
  assert made.arrays.events.tolist() == asked
  for user in range(_USERS):
    events = _events(histories, user)
    events = events[events % 3 == 0]
    same = whole.of(user, events)
    np.testing.assert_array_equal(made.of(user, events), same)
  assert made.manifest["asked"]["moments"]
  # What was made before there were moments is what it was.
  assert "moments" not in whole.manifest["asked"]


class _Edited(Histories):
  """Other events from the fourth on."""

  def __getitem__(self, user):
    record = {**super().__getitem__(user)}
    record["item"] = record["item"].copy()
    record["item"][3:] = record["item"][3:] % _ITEMS + 1
    return record


def test_what_comes_later_changes_no_list(histories, tmp_path):
  one = _make(histories, tmp_path / "a")
  two = _make(_Edited(histories.directory), tmp_path / "b")
  changed = 0
  for user in range(_USERS):
    events = _events(histories, user)
    x, y = one.of(user, events), two.of(user, events)
    np.testing.assert_array_equal(x[:3], y[:3])
    changed += (x[3:] != y[3:]).any()
  assert changed


class _EditedLate(Histories):
  """Other items in all events of the last third of the training's time."""

  cut = 0

  def __getitem__(self, user):
    record = {**super().__getitem__(user)}
    late = record["time"] >= self.cut
    items = record["item"]
    other = items % self.manifest.num_items + 1
    record["item"] = np.where(late, other, items).astype(np.int32)
    return record


def test_what_everybody_does_later_changes_no_list_of_the_baselines(
  histories, tmp_path
):
  sources = {"knn": ItemKnnLists(6), "popular": PopularLists(3)}
  records = [histories[user] for user in range(_USERS)]
  times = np.concatenate([record["time"] for record in records])
  edited = _EditedLate(histories.directory)
  edited.cut = int(np.quantile(times, 0.66))
  one = _make(histories, tmp_path / "a", sources, parts=("train",))
  two = _make(edited, tmp_path / "b", sources, parts=("train",))
  asked = np.concatenate(
    [r["time"][1 : histories.split.train_end(r)] for r in records]
  )
  early = asked < edited.cut
  lists = one.arrays.lists
  np.testing.assert_array_equal(lists[early], two.arrays.lists[early])
  assert (lists[~early] != two.arrays.lists[~early]).any(axis=(0, 2)).all()
  assert (lists[early] > 0).any(axis=(0, 2)).all()
  assert (one.arrays.until < asked[:, None]).all()
  assert not one.manifest["hindsight"]


def test_versions_name_contents_and_ages_are_days(histories, tmp_path):
  made = _make(histories, tmp_path / "a")
  again = _make(histories, tmp_path / "b")
  other = _make(histories, tmp_path / "c", {"a": Steps(3)})
  renamed = _make(histories, tmp_path / "d", {"b": Steps(1)})
  versions = {x.version for x in (made, other, renamed)}
  assert made.version == again.version and len(versions) == 3
  assert 0 <= made.age() < 1
  assert made.manifest["asked"]["retrievers"]["a"]["step"] == 1
  loaded = RetrieverLists.load(tmp_path / "a")
  np.testing.assert_array_equal(loaded.arrays.lists, made.arrays.lists)


def test_lists_made_of_later_events_are_refused_by_both_dates(
  histories, tmp_path
):
  day = 86_400
  _make(histories, tmp_path / "fine", {"a": Steps(until=0)}, parts=("train",))
  late = {"fine": Steps(), "late": Steps(until=3 * day)}
  with pytest.raises(ValueError, match="experiment.ItemKnnLists") as error:
    _make(histories, tmp_path / "a", late, parts=("train",))
  said, fix = str(error.value).split("\n")
  assert "lists of 'late' are made of events after" in said and fix
  asked = histories.times(histories[0])[1]
  assert "event 1 of user" in said and str(asked) in said
  assert f"until {asked + datetime.timedelta(days=3)}." in said
  assert not (tmp_path / "a").exists()
  made = _make(
    histories, tmp_path / "b", late, parts=("train",), hindsight=True
  )
  assert [*made.manifest["hindsight"]] == ["late"]
  made.check_point_in_time(("fine",))
  with pytest.raises(ValueError, match="'late' are made of events after"):
    made.check_point_in_time(("fine", "late"))


def test_held_out_requests_may_know_the_training_part_and_no_more(
  histories, tmp_path
):
  ends = [
    r["time"][histories.split.train_end(r) - 1]
    for r in (histories[u] for u in range(_USERS))
  ]

  @dataclasses.dataclass(frozen=True)
  class Fixed:
    until: int

    def open(self, histories):
      def ask(requests, k):
        ids = np.ones((len(requests), k), np.int32)
        return Returned(ids, np.full(len(requests), self.until))

      return Retriever(ask)

  held = {"parts": ("validation", "test")}
  last = int(max(ends))
  made = _make(histories, tmp_path / "a", {"x": Fixed(last)}, **held)
  assert not made.manifest["hindsight"]
  for hindsight in (False, True):
    with pytest.raises(ValueError, match="made of events after the one"):
      _make(
        histories,
        tmp_path / "b",
        {"x": Fixed(last + 10**6)},
        hindsight=hindsight,
        **held,
      )


def test_lacking_requests_are_counted_and_the_first_is_named(
  histories, tmp_path
):
  with pytest.raises(ValueError, match="leave the retriever out") as error:
    _make(histories, tmp_path / "a", {"a": Steps(), "gaps": Steps(lacks=3)})
  said, _ = str(error.value).split("\n")
  lengths = [len(histories[u]["item"]) - 1 for u in range(_USERS)]
  assert f"'gaps' lack {lengths[3]} of {sum(lengths):,} requests" in said
  assert "the first event 1 of user " in said


def test_what_cannot_be_made_is_refused(histories, tmp_path):
  for sources, options, said in (
    ({"a": Steps(fingerprint="f")}, {}, "'a' is of another data set"),
    ({}, {}, "no retriever to ask"),
    ({"a": Steps()}, {"count": 0}, "count=0 must be at least 1"),
    ({"a": Steps()}, {"count": 31}, "at most the 29 items"),
    ({"a": Steps()}, {"parts": ("tran",)}, "parts names 'tran'; choices"),
  ):
    with pytest.raises(ValueError, match=said):
      make_lists(
        histories,
        sources,
        directory=tmp_path / "never",
        **{"count": 2, **options},
      )
  assert not (tmp_path / "never").exists()


def _artifacts(histories, directory, **options):
  sections = {**_SECTIONS, "lists": {"directory": str(directory), **options}}
  return Artifacts.of(sections, directory.parent, histories)


def _ones(rows):
  return np.ones((1, len(rows)), np.int32)


def test_the_layout_puts_lists_beside_their_labels(histories, tmp_path):
  made = _make(histories, tmp_path / "n", {"a": Steps(1), "b": Steps(3)})
  artifacts = _artifacts(histories, tmp_path / "n")
  assert "lists" not in artifacts.versions
  options = EventLists(
    negatives=3,
    coverage=("b",),
    segments=SegmentWeights(("activity",), k=2, bound=1.5),
  )
  layout = NextItem(5, lists=options).bind(artifacts)
  plain = NextItem(5)
  weights = set()
  for user in range(_USERS):
    record = histories[user]
    end = histories.split.train_end(record)
    rows = layout.example(record, end)
    assert rows.shape[1] == layout.num_columns == 5 + 1 + 1 + 3
    np.testing.assert_array_equal(rows[:, :5], plain.example(record, end))
    batch = layout.batch(rows[None], _ones(rows), rows[None, :, 0])
    events = np.arange(1, end)[-5:]
    lists, labels = made.of(user, events), record["item"][events]
    np.testing.assert_array_equal(batch["label_BL"][0], labels)
    np.testing.assert_array_equal(batch["negatives_BLN"][0], by_turns(lists, 3))
    np.testing.assert_array_equal(
      batch["place_BLR"][0], places_of(lists[:, 1:], labels)
    )
    assert batch["segment_weight_BL"].dtype == np.float32
    weights |= {*batch["segment_weight_BL"][0].tolist()}
  assert len(weights) > 1 and all(1 / 1.5 - 1e-6 <= w <= 1.5 for w in weights)
  assert artifacts.versions["lists"] == made.version
  # Unbound, for its shapes.
  empty = np.zeros((2, 4, layout.num_columns), np.int32)
  shapes = NextItem(5, lists=options).batch(
    empty, empty[:, :, 0], empty[:, :, 0]
  )
  assert shapes["place_BLR"].shape == (2, 4, 1)
  assert not shapes["segment_weight_BL"].any()


def test_weights_of_segments_are_those_of_loops(histories, tmp_path):
  made = _make(histories, tmp_path / "n", {"a": Steps(1), "b": Steps(3)})
  options = SegmentWeights(("activity",), k=3, bound=1.2)
  fitted = options.fit(
    histories, Catalog(histories.directory), made, np.array([0, 1])
  )
  hits, counts = np.zeros(6), np.zeros(6)
  for user in range(_USERS):
    record = histories[user]
    for event in range(1, histories.split.train_end(record)):
      bounds = (0, 5, 20, 50, 200)
      segment = sum(event > bound for bound in bounds)
      lists = made.of(user, np.array([event]))[0, :, :3]
      counts[segment] += 1
      hits[segment] += record["item"][event] in lists
  missed = 1 - hits.sum() / counts.sum()
  for segment, length in ((1, 5), (2, 6), (2, 20), (3, 21)):
    if not counts[segment]:
      continue
    ratio = (1 - hits[segment] / counts[segment]) / missed
    wanted = min(max(ratio, 1 / 1.2), 1.2)
    found = fitted.of(np.array([1]), np.array([0]), np.array([length]))
    np.testing.assert_allclose(found, [wanted], rtol=1e-6)


def test_a_segment_counts_the_more_the_less_is_found_in_it():
  counts = np.array([10.0, 10, 10, 10, 0])
  found = gap_weights(np.array([0.0, 2, 5, 10, 0]), counts, 1.5)
  assert (np.diff(found[:4]) <= 0).all() and found[4] == 1
  assert found[0] == 1.5 and found[3] == 1 / 1.5
  share = (10 + 8 + 5) / 40
  np.testing.assert_allclose(found[2], 0.5 / share)
  # Nothing is missed, or no bound to speak of.
  assert (gap_weights(counts, counts, 3.0) == 1).all()
  assert (gap_weights(counts / 2, counts, 3.0) == 1).all()
  with pytest.raises(ValueError, match="bound=0.5 must be at least 1"):
    SegmentWeights(bound=0.5)
  with pytest.raises(ValueError, match="k=0 must be at least 1"):
    SegmentWeights(k=0)


def test_lists_that_do_not_fit_are_refused(histories, tmp_path):
  record, end = histories[0], histories.split.train_end(histories[0])

  def asked(options, data=histories, folder="n"):
    layout = NextItem(5, lists=options)
    return layout.bind(_artifacts(data, tmp_path / folder)).example(record, end)

  with pytest.raises(ValueError, match="experiment.make_lists"):
    asked(EventLists(negatives=2))
  _make(histories, tmp_path / "n")
  for options, said in (
    (EventLists(negatives=5), "negatives=5, and the 1 lists of"),
    (EventLists(coverage=("b",)), "coverage names 'b', and the lists are by a"),
  ):
    with pytest.raises(ValueError, match=said):
      asked(options)
  late = {"a": Steps(until=UNKNOWN)}
  _make(histories, tmp_path / "late", late, hindsight=True, parts=("train",))
  asked(EventLists(negatives=2), folder="late")
  with pytest.raises(ValueError, match="a time that nobody knows.\nWhat it"):
    asked(EventLists(coverage=("a",)), folder="late")
  _make(histories, tmp_path / "held", parts=("test",))
  with pytest.raises(ValueError, match="lack 5 of 5 requests"):
    asked(EventLists(negatives=2), folder="held")
  source = Synthetic(num_users=_USERS, num_items=_ITEMS, seed=1)
  prepare(source, LeaveOneOut(), tmp_path / "data")
  with pytest.raises(ValueError, match="are of another data set"):
    asked(EventLists(negatives=2), Histories(tmp_path / "data"))
  with pytest.raises(ValueError, match="negatives=-1 must be at least 0"):
    EventLists(negatives=-1)
  with pytest.raises(ValueError, match="gives nothing: set negatives or"):
    EventLists()
  with pytest.raises(ValueError, match="name them in .*coverage"):
    EventLists(negatives=2, segments=SegmentWeights())


def test_a_config_makes_its_lists_once_and_notices_others(histories, tmp_path):
  node = {"name": "experiment.PopularLists", "window_days": 3}
  config = {"count": 4, "parts": ["train"], "retrievers": {"p": node}}
  artifacts = _artifacts(histories, tmp_path / "n", **config)
  artifacts.make_lists()
  made = (tmp_path / "n" / "lists.npy").stat().st_mtime_ns
  again = _artifacts(histories, tmp_path / "n", **config)
  again.make_lists()
  assert (tmp_path / "n" / "lists.npy").stat().st_mtime_ns == made
  assert artifacts.versions == again.versions
  other = _artifacts(histories, tmp_path / "n", **config | {"count": 5})
  with pytest.raises(ValueError, match="count: 4 there, 5 wanted"):
    other.make_lists()
  wrong = {"retrievers": {"a": {"name": "data.LeaveOneOut"}}}
  with pytest.raises(ValueError, match="config.lists.retrievers.a.*lacks open"):
    _artifacts(histories, tmp_path / "n", **wrong)
  # Without retrievers the folder is whoever's.
  _artifacts(histories, tmp_path / "n").make_lists()


@pytest.mark.slow
def test_a_run_teaches_the_next_one(tmp_path):
  c = sasrec_amazon.get_config("sampled-quicktest")
  c.data.num_users, c.system.backbone.num_layers = 40, 1
  teacher = Run.start(c, tmp_path / "teacher")
  training.train(teacher, Termination(), lambda: None)
  sources = {"sasrec": RunLists(str(tmp_path / "teacher"))}
  options = {"count": 6, "directory": tmp_path / "run" / "lists"}
  with pytest.raises(ValueError, match="lists of 'sasrec' are made of events"):
    make_lists(teacher.histories, sources, **options)
  made = make_lists(teacher.histories, sources, hindsight=True, **options)
  assert made.manifest["facts"]["sasrec"]["step"] == 3
  c.prepared = str(tmp_path / "teacher" / "data")
  # Nobody asks for its best parameters.
  c.train.eval_every_steps = 0
  c.pipeline.layout.lists = {"name": "layouts.EventLists", "negatives": 6}
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
  assert read_progress(run)["artifacts"]["lists"] == made.version


def test_lists_of_a_basket_are_those_from_before_it(histories, tmp_path):
  made = _make(histories, tmp_path / "n", parts=("train",))
  options = EventLists(negatives=2, coverage=("a",))
  layout = NextItem(500, next_moment=True, lists=options)
  layout = layout.bind(_artifacts(histories, tmp_path / "n"))
  inside = 0
  for user in range(_USERS):
    record = {**histories[user]}
    record["time"] = times = record["time"] // (5 * 86_400)
    end = histories.split.train_end(record)
    inputs = [i for i in range(end) if times[i] < times[end - 1]]
    rows = layout.example(record, end)
    for row, i in zip(rows.tolist(), inputs, strict=True):
      first = min(j for j in range(end) if times[j] > times[i])
      listed = made.of(user, np.array([first]))[0, 0].tolist()
      place = listed.index(row[1]) + 1 if row[1] in listed else 0
      assert row[5:] == [place, *listed[:2]]
      inside += row[1] != record["item"][first]
  assert inside > 20
