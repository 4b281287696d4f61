# SPDX-License-Identifier: Apache-2.0
"""One holder at a time; one that is gone is named and followed."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from genrec_jax.train.workdir_lock import WorkdirLock


def _left_behind(workdir, **changes):
  """A lock as a process that was killed leaves it."""
  process = subprocess.Popen([sys.executable, "-c", "pass"])
  process.wait()
  with WorkdirLock(workdir):
    held = json.loads((workdir / "training.lock").read_text())
  held |= {"pid": process.pid, "token": "another"} | changes
  (workdir / "training.lock").write_text(json.dumps(held))
  return process.pid


def _age(workdir, seconds):
  when = time.time() - seconds
  os.utime(workdir / "training.lock", (when, when))


def test_a_second_training_is_refused_and_names_the_first(tmp_path):
  with WorkdirLock(tmp_path) as first:
    with pytest.raises(ValueError, match=f"trained by process {os.getpid()} "):
      with WorkdirLock(tmp_path):
        raise AssertionError("two hold it")
    first.check()
  with WorkdirLock(tmp_path):
    pass
  assert not list(tmp_path.iterdir())


def test_a_process_that_is_gone_is_followed_at_once(tmp_path, capsys):
  pid = _left_behind(tmp_path)
  with WorkdirLock(tmp_path) as lock:
    lock.check()
  assert f"left behind by process {pid} on " in capsys.readouterr().err


@pytest.mark.parametrize("changes", [{"host": "b"}, {"processes": "pid:[1]"}])
def test_another_machine_is_waited_for(changes, tmp_path, capsys):
  _left_behind(tmp_path, **changes)
  _age(tmp_path, 20)
  with pytest.raises(ValueError, match="try again in (40|39|41) s"):
    WorkdirLock(tmp_path).__enter__()
  _age(tmp_path, 61)
  with WorkdirLock(tmp_path):
    pass
  assert "last seen 61 s ago: taken over" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_lock_that_says_nothing_is_one_until_it_is_old(text, tmp_path):
  (tmp_path / "training.lock").write_text(text)
  with pytest.raises(ValueError, match="is being trained by"):
    WorkdirLock(tmp_path).__enter__()
  _age(tmp_path, 61)
  with WorkdirLock(tmp_path) as lock:
    lock.check()


def test_it_is_touched_while_it_is_held(tmp_path):
  with WorkdirLock(tmp_path, beat_seconds=0.01):
    _age(tmp_path, 1000)
    for _ in range(500):
      if time.time() - (tmp_path / "training.lock").stat().st_mtime < 100:
        break
      time.sleep(0.01)
    with pytest.raises(ValueError, match="is being trained by"):
      WorkdirLock(tmp_path).__enter__()


def test_a_touch_that_fails_is_not_the_last(tmp_path, monkeypatch):
  touch, failed = os.utime, []

  def fail_once(path, *arguments):
    if not failed:
      failed.append(path)
      raise OSError("Input/output error")
    touch(path, *arguments)

  with WorkdirLock(tmp_path, beat_seconds=0.01):
    _age(tmp_path, 1000)
    monkeypatch.setattr(os, "utime", fail_once)
    for _ in range(500):
      if time.time() - (tmp_path / "training.lock").stat().st_mtime < 100:
        break
      time.sleep(0.01)
    assert failed
    with pytest.raises(ValueError, match="is being trained by"):
      WorkdirLock(tmp_path).__enter__()


def test_one_that_was_taken_away_is_noticed(tmp_path):
  with WorkdirLock(tmp_path) as first:
    _age(tmp_path, 61)
    with WorkdirLock(tmp_path):
      with pytest.raises(ValueError, match="now process .* trains here"):
        first.check()
    with pytest.raises(ValueError, match="it was removed"):
      first.check()


def test_of_many_that_find_one_left_behind_one_gets_it(tmp_path):
  for _ in range(20):
    _left_behind(tmp_path)
    start, found = threading.Barrier(4), []

    def take(start=start, found=found):
      lock = WorkdirLock(tmp_path)
      start.wait()
      try:
        lock.__enter__()
      except ValueError:
        found.append(None)
      else:
        found.append(lock)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    (held,) = [lock for lock in found if lock is not None]
    held.check()
    held.__exit__()


def test_folders_that_stay_empty_go_again(tmp_path):
  (tmp_path / "old").mkdir()
  with WorkdirLock(tmp_path / "old" / "new" / "run"):
    assert (tmp_path / "old" / "new" / "run").is_dir()
  assert not list((tmp_path / "old").iterdir())
  with WorkdirLock(tmp_path / "old" / "a" / "b"):
    (tmp_path / "old" / "a" / "kept").touch()
  assert [p.name for p in (tmp_path / "old" / "a").iterdir()] == ["kept"]
  with WorkdirLock(tmp_path / "old"):
    pass
  assert (tmp_path / "old").is_dir()
