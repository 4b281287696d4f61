# SPDX-License-Identifier: Apache-2.0
"""Signals exit at once, are deferred, and are never forgotten."""

import gc
import os
import signal

import pytest

from genrec_jax.train.termination import Termination

_STATUS = {signal.SIGTERM: 0, signal.SIGINT: 130}


@pytest.fixture
def termination():
  before = {n: signal.getsignal(n) for n in _STATUS}
  yield Termination().install()
  for number, handler in before.items():
    signal.signal(number, handler)


def _terminate(number=signal.SIGTERM):
  os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", _STATUS)
def test_exits_where_nothing_is_deferred(termination, number):
  kind = KeyboardInterrupt if number == signal.SIGINT else SystemExit
  with pytest.raises(kind):
    _terminate(number)
  assert termination.arrived and termination.status == _STATUS[number]


@pytest.mark.parametrize("number", _STATUS)
def test_deferred_is_noted(termination, number):
  with termination.deferred():
    _terminate(number)
    assert termination.arrived and termination.status == _STATUS[number]


def test_a_second_ctrl_c_does_not_wait(termination):
  with termination.deferred():
    _terminate(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      _terminate(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exit_that_the_garbage_collector_swallows_is_noted(termination):
  def callback(phase, info):
    if phase == "start":
      _terminate()

  gc.callbacks.append(callback)
  try:
    gc.collect()
  finally:
    gc.callbacks.remove(callback)
  assert termination.arrived
