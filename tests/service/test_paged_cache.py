# SPDX-License-Identifier: Apache-2.0
"""What is answered from pages is what is answered of whole histories."""

import collections
import dataclasses

import hypothesis
from hypothesis import stateful, strategies as st
import jax
import jaxtyping
import numpy as np
import pytest

from genrec_jax.core.finite import NotFinite
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.layouts.actions import ActionOriented
from genrec_jax.layers.action_heads import LinearHead
from genrec_jax.models import ActionRanker
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.service import resumption
from genrec_jax.service.asks import ListAsk, RankAsk
from genrec_jax.service.compilations import Compilations
from genrec_jax.service.history_cache import Reading
from genrec_jax.service.ladder import FULL, SHORT_HISTORY
from genrec_jax.service.paged_cache import PagedCache
from genrec_jax.service.paged_reader import PagedOptions, PagedReader
from genrec_jax.service.paged_search import PagedScores, PagedSearch
from genrec_jax.service.served import Served
from genrec_jax.serving.ranker import Ranker
from tests.service import fakes, paged_models as models
from tests.service.paged_models import PLACES, ROWS, SHAPES, WINDOW

_PAGE, _NEW, _PAGES = 4, 8, 14
_FEEDBACK = Feedback(("cart", "purchase"))
_USERS = ("a", "b", "c", "d", "e")
_EVERYTHING = ItemMask.all_but([np.zeros(0, np.int32)], fakes.NUM_ITEMS)


def _filled(reader):
  """Numbers that are none where nothing was put: nobody may read them."""
  reader._pages = jax.tree.map(
    lambda x: jax.device_put(np.full(x.shape, np.nan, x.dtype), x.sharding),
    reader._pages,
  )


def _options(going_on, pages=_PAGES):
  probe = PagedReader(
    going_on, PagedOptions(1.0, _PAGE, (_NEW,)), (ROWS,), (WINDOW,)
  )
  return PagedOptions((pages + 0.5) * probe.page_bytes / 1e6, _PAGE, (_NEW,))


@dataclasses.dataclass(frozen=True)
class _Case:
  """A model behind a cache, and its search without one."""

  served: Served
  cache: PagedCache
  search: object
  reader: PagedReader

  def answer(self, asked, step=FULL):
    """Lists of (user, record, time), which are those of whole histories."""
    asks = [
      ListAsk(user, record, time, _EVERYTHING, PLACES, True)
      for user, record, time in asked
    ]
    found = self.served.answer(asks, step)
    if step == FULL:
      every = ItemMask.all_but(
        [np.zeros(0, np.int32)] * len(asked), fakes.NUM_ITEMS
      )
      whole = models.requests(*zip(*[x[1:] for x in asked], strict=True))
      ids, scores, _ = self.search(whole, PLACES, every)
      for one, ids_K, scores_K in zip(found, ids, scores, strict=True):
        np.testing.assert_allclose(one.scores_K, scores_K, rtol=1e-5, atol=1e-5)
        for place in np.flatnonzero(one.ids_K != ids_K):
          near = np.abs(scores_K - scores_K[place]) < 2e-5
          assert near.sum() > 1 or place == PLACES - 1
    return [one.reused for one in found]


@pytest.fixture(scope="module", params=list(models.BACKBONES))
def case(request):
  search, going_on = models.by_vectors(models.BACKBONES[request.param])
  cache = PagedCache(_options(going_on), SHAPES)
  served = Served(
    fakes.histories(), {ROWS: search}, shapes=SHAPES, lists=going_on, name="v1"
  )
  served.keep(cache)
  served.warm()
  ((reader, _),) = cache._readers["v1"]
  made = _Case(served, cache, search, reader)
  _filled(reader)
  made.answer([(None, models.record([3], [5]), 9)])
  return made


def _told(reused):
  return [(one.hit, one.new, one.why) for one in reused]


def test_only_what_is_new_is_computed(case):
  items, times = [*range(1, 10)], [*range(100, 1000, 100)]
  record = models.record(items, times)

  def ask(record, time=2000, user="u", **more):
    (one,) = case.answer([(user, record, time)], **more)
    return one.hit, one.new, one.why

  assert ask(record) == (0, 9, "absent")
  # The last event asks at a time of its own.
  assert ask(record) == (8, 1, "")
  assert ask(record, 5000) == (8, 1, "")
  assert ask(record, user=None) == (0, 9, "nobody")
  assert ask(record, step=SHORT_HISTORY) == (0, 9, "nobody")
  assert ask(record, user="other") == (0, 9, "absent")
  two = models.record([*items, 20, 21], [*times, 1000, 1100])
  assert ask(two) == (8, 3, "")
  # A late event: the page of the one before it is another one too.
  late = models.record(
    [*items[:6], 30, *items[6:], 20, 21],
    [*times[:6], 650, *times[6:], 1000, 1100],
  )
  case.cache.changed("u", (650 + models.EPOCH) * 10**6)
  assert ask(late) == (4, 8, "")
  # Nobody has told of this one.
  first = models.record([31, *items], [50, *times])
  assert ask(first) == (0, 10, "changed")
  # The window is full, and moves: all places are others.
  long = models.record(
    [31, *items, *range(1, 8)], [50, *times, *range(2000, 2007)]
  )
  assert ask(long, 3000) == (0, 16, "changed")
  assert ask(long, 3000) == (15, 1, "")
  short = models.record(items[:5], times[:5])
  assert ask(short) == (4, 1, "")
  longer = models.record(range(1, 15), [*times, *range(2000, 2005)])
  assert ask(longer, 3000) == (0, 14, "many_new")
  case.cache.forget("u")
  assert ask(record) == (0, 9, "absent")
  case.cache.forget("other")


def test_two_of_one_user_are_read_one_after_the_other(case):
  first = models.record([1, 2, 3], [10, 20, 30])
  second = models.record([1, 2, 3, 4], [10, 20, 30, 40])
  before = case.cache.figures()["waits"]
  asked = [("x", first, 90), ("y", second, 90), ("x", second, 95)]
  assert _told(case.answer(asked)) == [
    (0, 3, "absent"),
    (0, 4, "absent"),
    (2, 2, ""),
  ]
  assert case.cache.figures()["waits"] == before + 1
  case.reader.tables.clear()


class _Machine(stateful.RuleBasedStateMachine):
  """Users whose events come in and are deleted, asked with any others."""

  case: _Case
  seen: collections.Counter

  def __init__(self):
    super().__init__()
    self.events = {user: [] for user in _USERS}
    self.case.reader.tables.clear()

  @stateful.initialize(first=st.integers(1, fakes.NUM_ITEMS - 16))
  def fill(self, first):
    """More histories than there are pages."""
    for user in _USERS:
      self.append(user, [*range(first, first + 16)], 7)
      self.ask([user], 0)

  def _tell(self, user, time):
    self.case.cache.changed(user, (time + models.EPOCH) * 10**6)

  @stateful.rule(
    user=st.sampled_from(_USERS),
    items=st.lists(st.integers(1, fakes.NUM_ITEMS), min_size=1, max_size=10),
    gap=st.integers(0, 10**5),
  )
  def append(self, user, items, gap):
    for item in items:
      mine = self.events[user]
      time = (mine[-1][0] if mine else 1000) + gap
      mine.append((time, item))
      self._tell(user, time)

  @stateful.rule(
    user=st.sampled_from(_USERS),
    at=st.integers(0, 30),
    item=st.integers(1, fakes.NUM_ITEMS),
    told=st.booleans(),
  )
  def late(self, user, at, item, told):
    mine = self.events[user]
    if mine:
      at = min(at, len(mine) - 1)
      mine.insert(at, (mine[at][0], item))
      if told:
        self._tell(user, mine[at][0])

  @stateful.rule(user=st.sampled_from(_USERS))
  def delete(self, user):
    self.events[user] = []
    self.case.cache.forget(user)
    assert self.case.reader.tables.pages_of(user) == ()

  @stateful.rule(
    users=st.lists(st.sampled_from((*_USERS, None)), min_size=1, max_size=ROWS),
    later=st.integers(0, 10**6),
  )
  def ask(self, users, later):
    asked = []
    for user in users:
      mine = self.events[user or "a"]
      if mine:
        times, items = zip(*mine, strict=True)
        asked.append((user, models.record(items, times), times[-1] + later))
    if not asked:
      return
    for (_, record, _), one in zip(asked, self.case.answer(asked), strict=True):
      self.seen[one.why or "hit"] += 1
      assert one.hit + one.new == min(WINDOW, len(record["item"]))

  @stateful.rule(
    user=st.sampled_from(_USERS),
    error=st.sampled_from([NotFinite("no numbers"), RuntimeError("broken")]),
  )
  def fail(self, user, error):
    """Behind what was computed, as where scores turn out to be no numbers."""
    mine = self.events[user]
    if not mine:
      return
    times, items = zip(*mine, strict=True)
    asked = models.requests([models.record(items, times)], [times[-1]], (user,))
    reader = self.case.reader

    def broken(group):
      reader.run(resumption.as_started, group.arrays)
      raise error

    batch = self.case.served._reading.lists.rows(asked)
    with pytest.raises(type(error)):
      reader.over(batch, (user,), broken)
    if isinstance(error, RuntimeError):
      assert not len(reader.tables)
      _filled(reader)

  @stateful.invariant()
  def nothing_is_lost(self):
    tables = self.case.reader.tables
    used = sum(len(tables.pages_of(key)) for key in tables.keys)
    assert tables.num_free + used == _PAGES
    assert set(tables.keys) <= {*_USERS}


def test_cold_warm_partial_evicted_appended_late_deleted(case, monkeypatch):
  # Types of every call take longer to check than the calls themselves.
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  seen = collections.Counter()
  machine = type("Machine", (_Machine,), {"case": case, "seen": seen})
  evicted = case.reader.tables.evictions
  with Compilations() as made:
    stateful.run_state_machine_as_test(
      machine,
      settings=hypothesis.settings(
        max_examples=30,
        stateful_step_count=25,
        suppress_health_check=list(hypothesis.HealthCheck),
      ),
    )
  assert made.total == 0, "something was compiled when all was ready"
  assert {"hit", "absent", "nobody"} <= {*seen}, seen
  assert seen["hit"] > 10 and case.reader.tables.evictions > evicted


def _asked(case_of, steps):
  """Reused events of requests that follow each other, beside whole ones."""
  items, times = [*range(1, 15)], [*range(100, 1500, 100)]
  found = []
  for count in steps:
    record = models.record(items[:count], times[:count], [1, 3] * 7)
    record = {k: v if k == "user" else v[:count] for k, v in record.items()}
    found.append(case_of(record))
  return found


def test_beams_go_on_behind_pages():
  search, going_on = models.by_codes()
  reader = PagedReader(going_on, _options(going_on), (ROWS,), (WINDOW,))
  paged = PagedSearch({ROWS: search}, going_on, reader)
  _filled(reader)

  def ask(record):
    one = models.requests([record], [5000])
    expected = search(one, 6, _EVERYTHING)
    found = paged(dataclasses.replace(one, key=("u",)), 6, _EVERYTHING)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[2]["codes"], expected[2]["codes"])
    return found[2]["reused"][0].hit

  assert _asked(ask, [6, 6, 9, 14]) == [0, 5, 5, 8]


def test_candidates_go_on_behind_pages():
  data = fakes.histories()
  bound = _FEEDBACK.bind(data.manifest.actions)
  layout = ActionOriented(
    _FEEDBACK, WINDOW, 4, bound_feedback=bound, bound_shown=bound
  )
  system = ActionRanker(
    num_items=fakes.NUM_ITEMS,
    width=8,
    backbone=models.HSTU_BACKBONE,
    heads=LinearHead(2),
    num_actions=2,
    unknown_action=True,
    num_requests=8,
    num_gaps=8,
  )

  def request(record, time=5000):
    return asked_about(record, np.array([3, 9, 30]), time, fakes.NUM_ITEMS)

  first = request(models.record([1, 2], [0, 9]))
  batch = layout.impression_batch(first)
  model = models.loaded(system, batch)
  scorer = CandidateScorer.of(system, model.params, layout, micro_batch=4)
  going_on = resumption.of_ranker(Ranker(scorer, _FEEDBACK.tasks, data))
  reader = PagedReader(going_on, _options(going_on), (1,), (WINDOW,))
  _filled(reader)
  kept = PagedScores(reader)
  paged = dataclasses.replace(scorer, kept_fn=kept)
  kept.warm(paged, models.requests([models.record([1, 2], [0, 9])], [20]))

  def ask(record):
    expected = scorer.score(request(record))
    found = paged.score(request(record), key="u")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return kept.reused.hit

  scorer.score(first)
  with Compilations() as made:
    assert _asked(ask, [6, 6, 9, 14]) == [0, 5, 5, 8]
  assert made.total == 0


def test_versions_have_pages_of_their_own(case):
  going_on = case.served._reading.lists
  cache = PagedCache(_options(going_on), SHAPES)
  for name in ("v1", "v2"):
    reading = cache.open(name, Reading({ROWS: case.search}, lists=going_on))
    assert reading.searches[ROWS] is not case.search
  assert cache.figures()["pages"] == 2 * _PAGES
  cache.retire("v1")
  assert cache.figures()["pages"] == _PAGES
  cache.retire("v1")
  cache.changed("u", 0)
  cache.forget("u")


def test_who_cannot_go_on_is_read_anew(case):
  cache = PagedCache(PagedOptions(1.0), SHAPES)
  served = Served(fakes.histories(), {ROWS: case.search}, shapes=SHAPES)
  served.keep(cache)
  record = models.record([4, 5, 6], [1, 2, 3])
  ask = ListAsk("u", record, 9, _EVERYTHING, PLACES, True)
  for one in (ask, RankAsk("u", record, 9, np.array([4], np.int32), True)):
    (found,) = served.answer([one], FULL)
    assert _told([found.reused]) == [(0, 3, "model")]
  assert cache.figures() == {"pages": 0.0, "pages_used": 0.0}
  _, going_on = models.by_vectors(models.HSTU_BACKBONE)
  with pytest.raises(ValueError, match="hold no page of this model"):
    PagedReader(going_on, PagedOptions(1e-6), (ROWS,), (WINDOW,))
  assert going_on.loaded.system.resumes
  assert not going_on.loaded.system.clone(groups=True).resumes
