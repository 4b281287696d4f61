# SPDX-License-Identifier: Apache-2.0
"""Preference pairs: made, stored, read back, refused, and learnt from."""

import contextlib
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset.preference_pairs import PairArrays, PreferencePairs
from genrec_jax.objectives import DPO
from genrec_jax.rollout import StoredPairs, make_pairs
from tests.rollout import cases

_VERSIONS = {"data": "d1", "tokens": "t1", "generator": "g1"}


class _Histories:
  """Users of four training events: user u is in state u mod 4."""

  split = LeaveOneOut()

  def __len__(self):
    return 16

  def __getitem__(self, user):
    items = np.full(6, cases.TARGETS[user % cases.STATES])
    return {"user": np.array(user, np.int32), "item": items.astype(np.int32)}


class _Run:
  """What is asked of the run that generates."""

  histories, seed, key = _Histories(), 0, cases.KEY

  def program(self):
    return self

  def ask_of(self, params):
    return cases.ask_of(params)

  def in_force(self):
    return contextlib.nullcontext()


@dataclasses.dataclass(frozen=True)
class _ByItem:
  """An item is worth its number, but all are worth 3 in state 0."""

  low, high, constants, versions = 0.0, 12.0, None, {"reward": "r1"}

  def bind(self, run):
    return self

  def request_batch(self, requests):
    return {}

  def __call__(self, constants, item_GKN, target_G, batch):
    value_GK = item_GKN[..., 0].astype(jnp.float32)
    constant_G1 = (target_G == cases.TARGETS[0])[:, None]
    return jnp.where(constant_G1, 3.0, value_GK)


def _rollout(**options):
  rollout = cases.online(reward=_ByItem(), **options)
  return dataclasses.replace(rollout, versions=rollout.reward.versions)


def _params():
  return cases.Training(cases.online(), DPO()).state.params


def _make(directory, rollout=None, steps=2):
  rollout = _rollout() if rollout is None else rollout
  return make_pairs(
    rollout, _Run(), _params(), steps=steps, versions=_VERSIONS,
    directory=directory,
  )  # fmt: skip


def test_pairs_are_of_the_best_and_the_worst_and_the_others_are_counted(
  tmp_path,
):
  made = _make(tmp_path / "p")
  arrays, facts = made.arrays, made.manifest
  # Every step asks all sixteen users; those of state 0 give nothing.
  assert facts["asked"] == 32 and facts["alone"] == 0
  assert facts["constant"] == 8 and len(made) == 24
  assert not (arrays.user % cases.STATES == 0).any()
  # The rewards are those of the items, and what is better is chosen.
  np.testing.assert_array_equal(arrays.rewards, arrays.items[..., 0])
  assert (arrays.rewards[:, 0] > arrays.rewards[:, 1]).all()
  assert set(arrays.event.tolist()) <= {1, 2, 3}
  assert {k: facts[k] for k in _VERSIONS} == _VERSIONS
  assert facts["reward"] == "r1"
  # Of many samples the best and the worst item of all is among them.
  many = _make(tmp_path / "q", _rollout(num_samples=400), steps=1)
  assert (many.arrays.items[:, :, 0] == [[12, 1]]).all()


def test_one_sample_is_no_pair(tmp_path):
  with pytest.raises(ValueError) as error:
    _make(tmp_path / "p", _rollout(num_samples=1))
  said = str(error.value)
  assert "none of 32 requests gives a pair" in said
  assert "32 have fewer than two different ones" in said
  assert not (tmp_path / "p").exists()


def test_the_artifact_is_read_back_and_damage_is_noticed(tmp_path):
  made = _make(tmp_path / "p")
  found = PreferencePairs.load(tmp_path / "p")
  for name, array in vars(made.arrays).items():
    np.testing.assert_array_equal(vars(found.arrays)[name], array)
  assert found.version == made.version
  assert _make(tmp_path / "again").version == made.version
  path = tmp_path / "p" / "rewards.npy"
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(bytes(data))
  with pytest.raises(ValueError, match=r"rewards\.npy is not what the manif"):
    PreferencePairs.load(tmp_path / "p")
  manifest = tmp_path / "again" / "manifest.json"
  text = json.loads(manifest.read_text())
  manifest.write_text(json.dumps({**text, "generator": "g2"}))
  with pytest.raises(ValueError, match=r"manifest\.json"):
    PreferencePairs.load(tmp_path / "again")
  with pytest.raises(ValueError, match="holds no preference pairs"):
    PreferencePairs.load(tmp_path / "none")


@pytest.mark.parametrize("what", ["data", "tokens", "generator", "reward"])
def test_pairs_of_something_else_are_refused_by_both_names(what, tmp_path):
  made = _make(tmp_path / "p")
  ours = made.manifest[what]
  made.check(what, ours, tmp_path)
  made.check(what, "", tmp_path)
  with pytest.raises(ValueError, match=f"of the {what} {ours}, .* of other1"):
    made.check(what, "other1", tmp_path)
  arrays = dataclasses.replace(made.arrays, user=made.arrays.user + 4)
  facts = {**made.manifest, what: "other1"}
  for name in ("version", "files", "kind", "schema_version", "pairs"):
    facts.pop(name, None)
  same = PreferencePairs.make(made.arrays, facts, tmp_path / "a").version
  other = PreferencePairs.make(arrays, facts, tmp_path / "b").version
  assert len({made.version, same, other}) == 3


def test_a_chosen_sample_that_is_worth_less_is_refused(tmp_path):
  one = np.ones(1, np.int32)
  arrays = PairArrays(
    one, one, np.ones((1, 2, 1), np.int32), np.array([[0.5, 0.5]])
  )
  with pytest.raises(ValueError, match="worth more than the rejected"):
    PreferencePairs.make(arrays, _VERSIONS | {"reward": "r"}, tmp_path / "p")


def test_training_on_stored_pairs_learns_their_order(tmp_path):
  pairs = _make(tmp_path / "p")
  rollout = cases.online(
    kind=StoredPairs,
    requests=8,
    before="supervised",
    pairs=pairs,
    histories=_Run.histories,
  )
  # A pass has every pair once.
  batches = [rollout.request_batch(step) for step in range(3)]
  items = np.concatenate([b["item_GKN"] for b in batches])
  assert sorted(map(str, items)) == sorted(map(str, pairs.arrays.items))
  states = np.concatenate([b["request"]["state_G"] for b in batches])
  wanted = pairs.arrays.user % cases.STATES
  assert sorted(states.tolist()) == sorted(wanted.tolist())
  training = cases.Training(rollout, DPO(beta=1.0))
  found = training.run(30)
  assert found[0]["dpo"] == pytest.approx(np.log(2), rel=1e-5)
  assert found[0]["pairs"] == 1
  assert np.mean([row["accuracy"] for row in found[-5:]]) > 0.9
  held = jax.device_get(training.state.held)
  assert set(held) == {"reference"}
