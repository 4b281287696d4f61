# SPDX-License-Identifier: Apache-2.0
"""Losses of samples as parts of a config, against sums in NumPy."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs, Samples
from genrec_jax.objectives import (
  DAPO,
  DPO,
  ECPO,
  GBPO,
  GRPO,
  IPO,
  FormatReward,
  PPOClip,
  SampledPolicy,
  SoftmaxDPO,
)

_G, _K, _T = 5, 4, 3
_KEY, _NONE = jax.random.key(0), Items(1, lambda ids: ids)


def _samples(seed=0, **changes):
  """Of five requests: the last but one is constant, the last has a sample."""
  rng = np.random.default_rng(seed)
  policy, old, reference = -rng.uniform(0.2, 3, (3, _G, _K, _T))
  reward = rng.permutation(_G * _K).reshape(_G, _K) / 10
  reward[3] = 0.4
  where = rng.random((_G, _K)) < 0.8
  where[:4, :3] = True
  where[4] = [True, False, False, False]
  arrays = {
    "policy_GKT": policy,
    "old_GKT": old,
    "reference_GKT": reference,
    "reward_GK": reward,
    **changes,
  }
  # What is no sample may be anything.
  reward[~where] = np.nan
  policy[~where] = np.inf
  arrays = {
    k: None if x is None else jnp.asarray(x, jnp.float32)
    for k, x in arrays.items()
  }
  where_GKT = jnp.asarray(np.repeat(where[..., None], _T, axis=2))
  return Samples(**arrays, where_GK=jnp.asarray(where), where_GKT=where_GKT)


def _loss(objective, samples):
  outputs = Outputs(aux={"samples": samples})
  loss, parts = objective(outputs, {}, rng=_KEY, items=_NONE)
  return float(loss), {n: float(m.compute()) for n, m in parts.items()}


def _pairs(samples):
  """(best, worst, all worse) places of every request that gives a pair."""
  found = {}
  for g in range(_G):
    there = [k for k in range(_K) if samples.where_GK[g, k]]
    rewards = {k: float(samples.reward_GK[g, k]) for k in there}
    best = max(there, key=lambda k: (rewards[k], -k))
    worst = min(there, key=lambda k: (rewards[k], k))
    if rewards[best] > rewards[worst]:
      worse = [k for k in there if rewards[k] < rewards[best]]
      found[g] = best, worst, worse
  return found


def _h(samples, g, best, other):
  gain = np.asarray(samples.policy_GKT, np.float64)[g].sum(1) - np.asarray(
    samples.reference_GKT, np.float64
  )[g].sum(1)
  return gain[best] - gain[other]


def _softplus(x):
  return math.log1p(math.exp(x))


def test_losses_of_pairs_are_of_the_best_and_the_worst():
  samples = _samples()
  pairs = _pairs(samples)
  assert set(pairs) == {0, 1, 2}
  h = [_h(samples, g, best, worst) for g, (best, worst, _) in pairs.items()]
  dpo = np.mean([_softplus(-0.5 * x) for x in h])
  loss, parts = _loss(DPO(beta=0.5), samples)
  assert loss == pytest.approx(dpo, rel=1e-5)
  assert parts["pairs"] == pytest.approx(3 / 5)
  assert parts["margin"] == pytest.approx(np.mean(h), rel=1e-5)
  smooth = np.mean([0.9 * _softplus(-x) + 0.1 * _softplus(x) for x in h])
  loss, _ = _loss(DPO(beta=1.0, label_smoothing=0.1), samples)
  assert loss == pytest.approx(smooth, rel=1e-5)
  ipo = np.mean([(x - 1 / (2 * 0.5)) ** 2 for x in h])
  assert _loss(IPO(beta=0.5), samples)[0] == pytest.approx(ipo, rel=1e-5)


def test_softmax_dpo_is_against_all_that_are_worth_less():
  samples = _samples()
  wanted = []
  for g, (best, _, worse) in _pairs(samples).items():
    total = sum(math.exp(-0.5 * _h(samples, g, best, k)) for k in worse)
    wanted.append(_softplus(math.log(total)))
  loss, parts = _loss(SoftmaxDPO(beta=0.5), samples)
  assert loss == pytest.approx(np.mean(wanted), rel=1e-5)
  assert parts["pairs"] == pytest.approx(3 / 5)


def _advantages(samples, normalize=True):
  """A scalar loop: 0 where all of a request are worth the same."""
  found = np.zeros((_G, _K))
  for g in range(_G):
    there = np.asarray(samples.where_GK[g])
    rewards = np.asarray(samples.reward_GK, np.float64)[g]
    if not normalize:
      found[g, there] = rewards[there]
    elif len(set(rewards[there])) > 1:
      spread = rewards[there].std() + 1e-6
      found[g, there] = (rewards[there] - rewards[there].mean()) / spread
  return found


def _ppo(samples, low, high, *, varied_only=False, of_samples=False):
  """Sum over tokens in a scalar loop."""
  advantage, tokens, each = _advantages(samples), [], []
  for g, k in np.argwhere(np.asarray(samples.where_GK)):
    if varied_only and not advantage[g].any():
      continue
    own = []
    for t in range(_T):
      policy = float(samples.policy_GKT[g, k, t])
      ratio = math.exp(policy - float(samples.old_GKT[g, k, t]))
      cut = min(max(ratio, 1 - low), 1 + high)
      a = advantage[g, k]
      own.append(-min(ratio * a, cut * a))
    tokens += own
    each.append(np.mean(own))
  return np.mean(each if of_samples else tokens)


def _kl(samples):
  there = np.asarray(samples.where_GK)
  d = np.asarray(samples.reference_GKT, np.float64)[there]
  d = d - np.asarray(samples.policy_GKT, np.float64)[there]
  return float(np.mean(np.expm1(d) - d))


def test_losses_of_rewards_are_those_of_scalar_loops():
  samples = _samples()
  all_codes = PPOClip(low=0.1, high=0.3, sample_mean=False)
  loss, parts = _loss(SampledPolicy(all_codes), samples)
  assert loss == pytest.approx(_ppo(samples, 0.1, 0.3), rel=1e-5)
  assert parts["constant"] == pytest.approx(2 / 5)
  wanted = _ppo(samples, 0.2, 0.2, of_samples=True) + 0.04 * _kl(samples)
  loss, parts = _loss(GRPO(), samples)
  assert loss == pytest.approx(wanted, rel=1e-5)
  assert parts["kl"] == pytest.approx(_kl(samples), rel=1e-5)
  loss, _ = _loss(DAPO(), samples)
  wanted = _ppo(samples, 0.2, 0.28, varied_only=True)
  assert loss == pytest.approx(wanted, rel=1e-5)
  loss, _ = _loss(SampledPolicy(GBPO(), normalize=False), samples)
  advantage, wanted = _advantages(samples, normalize=False), []
  for g, k in np.argwhere(np.asarray(samples.where_GK)):
    for t in range(_T):
      pi = math.exp(float(samples.policy_GKT[g, k, t]))
      old = math.exp(float(samples.old_GKT[g, k, t]))
      a = advantage[g, k]
      wanted.append(-a * pi / max(old, pi if a >= 0 else 1 - pi))
  assert loss == pytest.approx(np.mean(wanted), rel=1e-5)


def test_of_negatives_ecpo_limits_the_ratio():
  samples = _samples(old_GKT=np.full((_G, _K, _T), -20.0))
  loss, _ = _loss(SampledPolicy(ECPO(clip=0.2, delta=0.1)), samples)
  advantage = _advantages(samples)
  a = np.repeat(advantage[np.asarray(samples.where_GK)], _T)
  wanted = np.where(a >= 0, -1.2 * a, -1.3 * a)
  assert loss == pytest.approx(wanted.mean(), rel=1e-5)
  assert _loss(SampledPolicy(PPOClip()), samples)[0] > 1e5


@pytest.mark.parametrize(
  "objective",
  [
    *(DPO(), IPO(), SoftmaxDPO(), GRPO(), DAPO()),
    *(SampledPolicy(loss) for loss in (ECPO(), GBPO())),
  ],
)
def test_gradients_are_finite_and_only_of_samples_that_count(objective):
  samples = _samples()

  def loss(policy):
    given = Samples(**{**vars(samples), "policy_GKT": policy})
    outputs = Outputs(aux={"samples": given})
    return objective(outputs, {}, rng=_KEY, items=_NONE)[0]

  gradient = np.asarray(jax.grad(loss)(samples.policy_GKT))
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
  assert (gradient[~np.asarray(samples.where_GK)] == 0).all()


def test_what_is_lacking_is_named():
  alone = Outputs()
  with pytest.raises(ValueError, match=r"draws none: name a config\.rollout"):
    DPO()(alone, {}, rng=_KEY, items=_NONE)
  samples = _samples(reference_GKT=None)
  for objective in (DPO(), SoftmaxDPO(), GRPO()):
    with pytest.raises(ValueError, match="set its reference_steps"):
      _loss(objective, samples)
  _loss(SampledPolicy(PPOClip()), samples)


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: DPO(beta=0.0), r"objective\.beta=0\.0 must be above 0"),
    (
      lambda: DPO(label_smoothing=1.0),
      "label_smoothing=1.0 must be at least 0",
    ),
    (lambda: IPO(beta=-1.0), r"objective\.beta=-1\.0 must be above 0"),
    (
      lambda: PPOClip(low=1.0),
      r"loss\.low=1\.0 must be at least 0 and",
    ),
    (
      lambda: PPOClip(high=-1.0),
      r"objective\.loss\.high=-1\.0 must be a number of 0",
    ),
    (
      lambda: ECPO(delta=-1.0),
      r"loss\.delta=-1\.0 must be a number of 0",
    ),
    (
      lambda: GRPO(kl_weight=-1.0),
      "kl_weight=-1.0 must be a number of 0 or more",
    ),
  ],
)
def test_options_that_cannot_be(make, words):
  with pytest.raises(ValueError, match=words):
    make()


def test_the_form_of_the_likeliest_is_rewarded_and_others_are_left_out():
  samples = _samples()
  policy = np.asarray(samples.policy_GKT, np.float64)
  legal = np.asarray(samples.where_GK)
  policy[~legal] = -4.0
  policy[0, 0] = -0.1
  samples = dataclasses.replace(
    samples, policy_GKT=jnp.asarray(policy, jnp.float32)
  )
  old = np.asarray(samples.old_GKT, np.float64)
  wanted = []
  for g in range(_G):
    best = sorted(range(_K), key=lambda k: -policy[g, k].sum())[:2]
    for k in best:
      if legal[g, k]:
        ratio = np.exp(policy[g, k] - old[g, k])
        wanted.append(-np.minimum(ratio, np.clip(ratio, 0.8, 1.2)).mean())
  objective = FormatReward(PPOClip(), count=2, likeliest=True)
  loss, parts = _loss(objective, samples)
  assert loss == pytest.approx(np.mean(wanted), rel=1e-5)
  assert parts["legal"] == pytest.approx(legal.mean())
