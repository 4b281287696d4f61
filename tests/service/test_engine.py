# SPDX-License-Identifier: Apache-2.0
"""The queue and its thread, around models that are told what to do."""

import collections
import concurrent.futures
import dataclasses
import logging
import threading
import time

import pytest

from genrec_jax.core.finite import NotFinite
from genrec_jax.service.engine import Engine, EngineOptions
from genrec_jax.service.ladder import FULL, POPULAR, SHORT_HISTORY, Ladder
from genrec_jax.service.metrics import Metrics
from genrec_jax.service.refused import Refused

_NEVER = Ladder((2.0,) * 4)


@dataclasses.dataclass(frozen=True)
class _Ask:
  name: int
  kind: str = "list"
  fails: tuple[str, ...] = ()
  error: Exception = ValueError("a bad row")


class _Model:
  """Answers (name, step, number of the batch); waits while it is held."""

  def __init__(self, max_batch=4, steps=(FULL, SHORT_HISTORY, POPULAR)):
    self.max_batch, self._steps = max_batch, steps
    self.batches, self.go, self.began = [], threading.Event(), threading.Event()
    self.go.set()

  def steps(self, ask):
    return self._steps

  def answer(self, asks, step):
    self.began.set()
    assert self.go.wait(20)
    for ask in asks:
      if step in ask.fails:
        raise ask.error
    self.batches.append([ask.name for ask in asks])
    return [(ask.name, step, len(self.batches)) for ask in asks]


@pytest.fixture
def make():
  made = []

  def engine(**options):
    options = {"max_wait_seconds": 0.0, "ladder": _NEVER} | options
    made.append(Engine(EngineOptions(**options), Metrics()))
    made[-1].start()
    return made[-1]

  yield engine
  for one in made:
    one.close(5.0)


def _later(seconds=20.0):
  return time.monotonic() + seconds


def _hold(engine, model):
  """Submits a request with which the thread is busy until model.go."""
  model.go.clear()
  model.began.clear()
  first = engine.submit(model, _Ask(-1), _later())
  assert model.began.wait(5)
  return first


def test_everybody_gets_their_own_answer_in_batches_of_one_kind(make):
  engine, model, other = make(max_queue=500), _Model(), _Model()
  _hold(engine, model)
  asks = [_Ask(n, "list" if n % 3 else "rank") for n in range(60)]
  futures = [
    engine.submit(model if n % 2 else other, ask, _later())
    for n, ask in enumerate(asks)
  ]
  model.go.set()
  assert [f.result(10).answer[0] for f in futures] == list(range(60))
  for found in (model, other):
    for batch in found.batches:
      assert len(batch) <= 4
      assert len({n % 3 == 0 for n in batch if n >= 0}) <= 1
  # Those that waited together were answered together, the oldest first.
  assert other.batches[0] == [0, 6, 12, 18]
  assert max(map(len, model.batches)) == 4


def test_a_batch_waits_for_more(make):
  engine, model = make(max_wait_seconds=5.0), _Model(max_batch=3)
  futures = [engine.submit(model, _Ask(n), _later()) for n in range(3)]
  # It is full long before the five seconds are over.
  assert {f.result(4).answer[2] for f in futures} == {1}


def test_what_does_not_fit_is_refused_at_once(make):
  engine, model = make(max_queue=3), _Model(max_batch=1)
  _hold(engine, model)
  waiting = [engine.submit(model, _Ask(n), _later()) for n in range(3)]
  for ask in (
    lambda: engine.submit(model, _Ask(9), _later()),
    lambda: engine.admit(_later()),
  ):
    with pytest.raises(Refused) as refused:
      ask()
    found = refused.value
    assert (found.status, found.reason) == (503, "queue_full")
    assert found.retry_after_seconds >= 1
  model.go.set()
  assert [f.result(5).answer[0] for f in waiting] == [0, 1, 2]
  assert engine.submit(model, _Ask(4), _later()).result(5).answer[0] == 4


def test_a_deadline_that_cannot_be_met_is_refused(make):
  engine, model = make(), _Model(max_batch=1)
  model.answer = lambda asks, step: time.sleep(0.2) or [(a.name,) for a in asks]
  engine.submit(model, _Ask(0), _later()).result(5)
  waiting = [engine.submit(model, _Ask(n), _later()) for n in range(5)]
  assert engine.expected_wait() > 0.5
  with pytest.raises(Refused) as refused:
    engine.submit(model, _Ask(6), _later(0.3))
  assert (refused.value.status, refused.value.reason) == (503, "too_slow")
  concurrent.futures.wait(waiting, 10)
  # Nobody waits: even a short one may try.
  time.sleep(0.05)
  engine.submit(model, _Ask(7), _later(0.1))


def test_nothing_is_computed_for_who_is_late_or_gone(make):
  engine, model = make(), _Model()
  _hold(engine, model)
  late = engine.submit(model, _Ask(1), _later(0.05))
  gone = engine.submit(model, _Ask(2), _later())
  stays = engine.submit(model, _Ask(3), _later())
  assert gone.cancel()
  time.sleep(0.1)
  model.go.set()
  assert stays.result(5).answer[0] == 3
  with pytest.raises(Refused) as refused:
    late.result(5)
  assert refused.value.status == 504
  assert model.batches == [[-1], [3]]


def test_one_bad_row_fails_alone(make, caplog):
  engine, model = make(), _Model()
  _hold(engine, model)
  bad = _Ask(1, fails=(FULL,), error=NotFinite("NaN"))
  worse = _Ask(2, fails=(FULL, SHORT_HISTORY, POPULAR))
  futures = [
    engine.submit(model, ask, _later())
    for ask in (_Ask(0), bad, worse, _Ask(3))
  ]
  model.go.set()
  with caplog.at_level(logging.CRITICAL):
    good = [futures[0].result(5), futures[3].result(5)]
    assert [(d.step, d.why) for d in good] == [(FULL, None)] * 2
    found = futures[1].result(5)
    assert (found.step, found.why) == (SHORT_HISTORY, "not_finite")
    with pytest.raises(Refused) as refused:
      futures[2].result(5)
  assert (refused.value.status, refused.value.reason) == (503, "model_error")
  # The thread lives on.
  assert engine.submit(model, _Ask(5), _later()).result(5).step == FULL


def test_who_is_late_while_others_are_asked_alone_is_not_computed(make, caplog):
  engine, model = make(), _Model()
  until, asked = _later(0.3), []

  def answer(asks, step):
    asked.append([ask.name for ask in asks])
    if asks[0].name < 0:
      return _Model.answer(model, asks, step)
    if len(asks) > 1:
      raise ValueError("a bad row")
    time.sleep(max(0.0, until - time.monotonic()))
    return [(asks[0].name,)]

  model.answer = answer
  _hold(engine, model)
  futures = [
    engine.submit(model, _Ask(0), _later()),
    engine.submit(model, _Ask(1), until),
  ]
  model.go.set()
  with caplog.at_level(logging.CRITICAL):
    assert futures[0].result(5).answer == (0,)
    with pytest.raises(Refused) as refused:
      futures[1].result(5)
  assert refused.value.status == 504
  assert asked == [[-1], [0, 1], [0]]


def test_a_model_that_answers_too_few_leaves_nobody_waiting(make, caplog):
  engine, model = make(), _Model()
  model.answer = lambda asks, step: []
  with caplog.at_level(logging.CRITICAL, "genrec_jax.service"):
    future = engine.submit(model, _Ask(0), _later())
    with pytest.raises(Refused):
      future.result(5)


def test_the_ladder_follows_the_queue(make):
  ladder = Ladder((0.25, 0.5, 0.75, 1.0))
  engine = make(max_queue=8, ladder=ladder)
  model = _Model(max_batch=1)
  _hold(engine, model)
  futures = [engine.submit(model, _Ask(n), _later()) for n in range(8)]
  model.go.set()
  found = [f.result(5) for f in futures]
  # 8 wait, then 7, ...: popular needs all of them, short histories 2.
  expected = [POPULAR] + [SHORT_HISTORY] * 6 + [FULL]
  assert [done.step for done in found] == expected
  whys = ["load"] * 7 + [None]
  assert [done.why for done in found] == whys


def test_draining_answers_what_was_accepted(make):
  engine, model = make(), _Model(max_batch=2)
  held = _hold(engine, model)
  waiting = [engine.submit(model, _Ask(n), _later()) for n in range(5)]
  engine.drain()
  with pytest.raises(Refused) as refused:
    engine.submit(model, _Ask(9), _later())
  assert refused.value.reason == "draining"
  threading.Timer(0.05, model.go.set).start()
  engine.close(10.0)
  assert [f.result(0).answer[0] for f in [held, *waiting]] == [-1, *range(5)]


def test_what_does_not_end_is_refused_in_the_end(make):
  engine, model = make(stuck_seconds=0.05), _Model(max_batch=1)
  _hold(engine, model)
  waiting = engine.submit(model, _Ask(1), _later())
  assert not engine.stuck
  time.sleep(0.1)
  assert engine.stuck
  engine.close(0.05)
  with pytest.raises(Refused) as refused:
    waiting.result(0)
  assert refused.value.reason == "draining"
  model.go.set()


def test_metrics_count_batches_and_rows(make):
  metrics = Metrics()
  engine, model = Engine(EngineOptions(max_queue=99), metrics), _Model()
  engine.start()
  _hold(engine, model)
  futures = [engine.submit(model, _Ask(n), _later()) for n in range(9)]
  model.go.set()
  concurrent.futures.wait(futures, 10)
  engine.close(5.0)
  sizes = collections.Counter(map(len, model.batches))
  value = metrics.registry.get_sample_value
  assert value("genrec_batch_size_sum") == 10
  assert value("genrec_batch_size_count") == sum(sizes.values())
  assert value("genrec_queue_seconds_count") == 10


@pytest.mark.parametrize("fills", [(0.5,), (0.9, 0.5, 0.6, 0.7)])
def test_a_ladder_that_cannot_be(fills):
  with pytest.raises(ValueError, match="shares that ascend"):
    Ladder(fills)
