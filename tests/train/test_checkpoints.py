# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: bitwise, parameters alone, and clear about what differs."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
    if damage is pathlib.Path.unlink and path.name == "checksums.json":
      continue
    part = path.relative_to(tmp_path / "a" / "7").parts[0]
    written = path.read_bytes()
    damage(path)
    with pytest.raises(DamagedCheckpoint) as found:
      checkpoints.restore(_state(), _one())
    assert str(tmp_path / "a" / "7") in str(found.value)
    assert path.name in str(found.value)
    assert "\n" not in str(found.value)
    if part in ("params", "_CHECKPOINT_METADATA"):
      with pytest.raises(DamagedCheckpoint, match=path.name):
        checkpoints.restore_params(_state().params, _one())
    path.write_bytes(written)
  checkpoints.restore(_state(), _one())


def test_a_checkpoint_without_checksums_is_read_and_gets_them(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    written = (tmp_path / "7" / "checksums.json").read_text()
    (tmp_path / "7" / "checksums.json").unlink()
    back = checkpoints.restore(_state(), _one())
    jax.tree.map(np.testing.assert_array_equal, back.state, _state(7))
    checkpoints.seal()
  assert (tmp_path / "7" / "checksums.json").read_text() == written


def test_what_a_killed_deletion_left_is_not_taken_for_a_checkpoint(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    _save(checkpoints, _state(8))
    (tmp_path / "7" / "checksums.json").unlink()
    with pytest.raises(DamagedCheckpoint, match="7 lacks checksums.json"):
      checkpoints.restore(_state(), _one(), 7)


def test_what_orbax_cannot_read_is_named(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    _save(checkpoints, _state(7))
    (tmp_path / "7" / "checksums.json").unlink()
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
