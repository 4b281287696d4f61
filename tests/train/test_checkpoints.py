# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: bitwise, parameters alone, and clear about what differs."""

import errno
import json
import os
import pathlib
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.train import checkpoint_sums
from genrec_jax.train.checkpoints import Checkpoints, DamagedCheckpoint
from genrec_jax.train.state import TrainState, init_state


def _state(step=0, width=3):
  rng = np.random.default_rng(width)
  params = {"a": {"kernel": jnp.asarray(rng.normal(size=(4, width)))}}
  state = init_state(params, optax.adamw(1e-3))
  return TrainState(jnp.asarray(step, jnp.int32), state.params, state.opt_state)


def _one():
  return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def _save(checkpoints, state, place=5):
  checkpoints.save(
    state, data={"place": place}, progress={"best": 0.5}, config={"name": "x"}
  )


def test_what_is_saved_comes_back_bitwise(tmp_path):
  state = _state(7)
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, state)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step == 7
    back = checkpoints.restore(_state(), _one())
  jax.tree.map(np.testing.assert_array_equal, back.state, state)
  assert back.data == {"place": 5}
  assert back.progress == {"best": 0.5}
  assert type(back.state.opt_state) is type(state.opt_state)


def test_only_the_newest_are_kept(tmp_path):
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (1, 2, 3, 4):
      _save(checkpoints, _state(step))
    _save(checkpoints, _state(4))
  kept = sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit())
  assert kept == ["3", "4"]


def test_parameters_alone_go_to_any_devices(tmp_path):
  state = _state(1)
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, state)
    checkpoints.restore_params(state.params, _one(), 1)
    mesh = jax.make_mesh((8,), ("data",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    params = checkpoints.restore_params(state.params, everywhere)
  assert params["a"]["kernel"].sharding == everywhere
  jax.tree.map(np.testing.assert_array_equal, params, state.params)


def test_another_architecture_names_the_shapes(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(1))
    with pytest.raises(
      ValueError, match=r"a/kernel: checkpoint \(4, 3\), config \(4, 5\)"
    ):
      checkpoints.restore(_state(width=5), _one())
    other = {"b": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"a/kernel: .*config absent"):
      checkpoints.restore_params(other, _one())


def test_no_checkpoint_says_what_to_do(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step is None
    with pytest.raises(ValueError, match="no checkpoint in .*genrec train"):
      checkpoints.restore(_state(), _one())


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(1))
  # What a kill during a save leaves: Orbax's temporary name.
  (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
  (tmp_path / "2.orbax-checkpoint-tmp" / "params").mkdir()
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step == 1


def test_reading_leaves_a_save_in_progress_alone(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(1))
  saving = tmp_path / "2.orbax-checkpoint-tmp"
  saving.mkdir()
  with Checkpoints(tmp_path, read_only=True) as checkpoints:
    assert checkpoints.latest_step == 1
    with pytest.raises(ValueError, match="read only"):
      _save(checkpoints, _state(2))
  assert saving.is_dir()
  with Checkpoints(tmp_path / "none", read_only=True) as checkpoints:
    assert checkpoints.latest_step is None
  assert not (tmp_path / "none").exists()


def _files(folder):
  return sorted(path for path in folder.rglob("*") if path.is_file())


def _flip(path):
  data = bytearray(path.read_bytes())
  if data:
    data[len(data) // 2] ^= 8
  path.write_bytes(data)


def _cut(path):
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("damage", [_flip, _cut, pathlib.Path.unlink])
def test_damage_to_any_file_is_named_before_anything_is_read(damage, tmp_path):
  with Checkpoints(tmp_path / "a") as checkpoints:
    _save(checkpoints, _state(7))
  files = _files(tmp_path / "a" / "7")
  assert {p.parent.name for p in files} >= {"data", "progress", "config", "7"}
  checkpoints = Checkpoints(tmp_path / "a", read_only=True)
  for path in files:
    part = path.relative_to(tmp_path / "a" / "7").parts[0]
    written = path.read_bytes()
    if not written and damage is not pathlib.Path.unlink:
      continue
    damage(path)
    with pytest.raises(DamagedCheckpoint) as found:
      checkpoints.restore(_state(), _one())
    assert str(tmp_path / "a" / "7") in str(found.value)
    assert path.name in str(found.value)
    assert "\n" not in str(found.value)
    if part in ("params", "_CHECKPOINT_METADATA", "checksums.json"):
      with pytest.raises(DamagedCheckpoint, match=path.name):
        checkpoints.restore_params(_state().params, _one())
    path.write_bytes(written)
  checkpoints.restore(_state(), _one())


def _make_old(folder):
  """As it was before there were checksums."""
  (folder / "checksums.json").unlink()
  path = folder / "_CHECKPOINT_METADATA"
  metadata = json.loads(path.read_text())
  assert metadata.pop("custom_metadata") == {"checksums": "checksums.json"}
  path.write_text(json.dumps(metadata))


def test_an_old_checkpoint_is_read_unchecked_and_gets_checksums(
  tmp_path, capsys
):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    checkpoints.close()
    _make_old(tmp_path / "7")
    back = checkpoints.restore(_state(), _one())
    jax.tree.map(np.testing.assert_array_equal, back.state, _state(7))
    checkpoints.restore_params(_state().params, _one())
    said = capsys.readouterr().err
    assert said.count("before there were checksums") == 1
    assert f"{tmp_path / '7'} was" in said and "unchecked" in said
    checkpoints.seal()
    checkpoints.restore(_state(), _one())
  assert capsys.readouterr().err == ""
  _flip(next((tmp_path / "7" / "params").rglob("_METADATA")))
  with pytest.raises(DamagedCheckpoint, match="_METADATA"):
    checkpoints.restore(_state(), _one())


def test_without_checksums_and_metadata_it_is_damaged(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    checkpoints.close()
    (tmp_path / "7" / "checksums.json").unlink()
    # Nothing makes up for what is damaged.
    checkpoints.seal()
    assert not (tmp_path / "7" / "checksums.json").exists()
    (tmp_path / "7" / "_CHECKPOINT_METADATA").write_text("[")
    with pytest.raises(DamagedCheckpoint, match="checksums.json is missing"):
      checkpoints.restore(_state(), _one())


@pytest.mark.parametrize("damage", [_cut, pathlib.Path.unlink])
def test_parameters_need_no_optimizer(damage, tmp_path, caplog, capsys):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
  for path in _files(tmp_path / "7" / "optimizer"):
    damage(path)
  params = checkpoints.restore_params(_state().params, _one())
  jax.tree.map(np.testing.assert_array_equal, params, _state().params)
  (line,) = capsys.readouterr().err.splitlines()
  assert "7/optimizer/" in line and "no training can go on from it" in line
  assert caplog.text == ""
  # Its bookkeeping alone neither needs it nor says so.
  assert checkpoints.progress() == {"best": 0.5}
  assert capsys.readouterr().err == ""


def test_a_save_goes_on_while_it_is_sealed_and_a_kill_leaves_the_one_before(
  tmp_path, monkeypatch
):
  begun, goes_on = threading.Event(), threading.Event()
  seal = checkpoint_sums.seal

  def slow(folder):
    begun.set()
    assert goes_on.wait(60)
    seal(folder)

  with Checkpoints(tmp_path / "a", keep=1) as checkpoints:
    _save(checkpoints, _state(7))
    assert checkpoints.steps == [7]
    monkeypatch.setattr(checkpoint_sums, "seal", slow)
    _save(checkpoints, _state(8))
    assert begun.wait(60)
    # What is on disk at this moment is what SIGKILL would leave.
    shutil.copytree(tmp_path / "a", tmp_path / "killed")
    with Checkpoints(tmp_path / "a", read_only=True) as reader:
      assert reader.steps == [7]
    goes_on.set()
    assert checkpoints.steps == [8]
  assert [p.name for p in (tmp_path / "a").iterdir()] == ["8"]
  with Checkpoints(tmp_path / "killed", keep=1) as checkpoints:
    back = checkpoints.restore(_state(), _one())
    jax.tree.map(np.testing.assert_array_equal, back.state, _state(7))
    _save(checkpoints, _state(8))
  assert [p.name for p in (tmp_path / "killed").iterdir()] == ["8"]


def test_a_save_that_cannot_be_sealed_is_none(tmp_path, monkeypatch):
  def full(folder):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

  checkpoints = Checkpoints(tmp_path)
  _save(checkpoints, _state(7))
  checkpoints.close()
  checkpoints = Checkpoints(tmp_path)
  with monkeypatch.context() as patched:
    patched.setattr(checkpoint_sums, "seal", full)
    _save(checkpoints, _state(8))
    with pytest.raises(OSError, match="No space left"):
      _save(checkpoints, _state(9))
    assert checkpoints.steps == [7]
    _save(checkpoints, _state(9))
    with pytest.raises(OSError, match="No space left"):
      checkpoints.close()
  assert [p.name for p in tmp_path.iterdir()] == ["7"]


def test_what_killed_saves_and_deletions_left_goes(tmp_path):
  names = ("5.tmp-unsealed.orbax-checkpoint-tmp", "6.tmp-unsealed")
  for name in (*names, "4.tmp-deleted", "3.orbax-checkpoint-tmp"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "params").touch()
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step is None
    _save(checkpoints, _state(7))
  assert [p.name for p in tmp_path.iterdir()] == ["7"]


def test_what_a_killed_deletion_left_is_not_taken_for_a_checkpoint(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    _save(checkpoints, _state(8))
    checkpoints.close()
    _make_old(tmp_path / "7")
    with pytest.raises(DamagedCheckpoint, match="7 lacks checksums.json"):
      checkpoints.restore(_state(), _one(), 7)


def test_what_orbax_cannot_read_is_named(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    checkpoints.close()
    _make_old(tmp_path / "7")
    (tmp_path / "7" / "params" / "_METADATA").write_text("{")
    with pytest.raises(DamagedCheckpoint, match="checkpoint .*/7 cannot be"):
      checkpoints.restore(_state(), _one())


@pytest.mark.parametrize("damage", [_flip, _cut, pathlib.Path.unlink])
def test_an_older_one_that_is_damaged_does_not_stop_a_save(damage, tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    _save(checkpoints, _state(8))
  for path in _files(tmp_path / "7"):
    damage(path)
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(9))
    assert checkpoints.steps == [9, 8]
