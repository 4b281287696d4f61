# SPDX-License-Identifier: Apache-2.0
"""Preference and policy losses against the values that TRL 1.16.0 gives.

losses_trl.json holds four pairs of answers and two groups of three samples
(NumPy's default_rng(7), rounded to three places), and TRL's losses and
gradients in float64, by torch 2.13.0 on a CPU.

To make the values again, call _compute_loss of TRL's trainers on a stub in
place of self, whose model answers with the stored log-probabilities, in
torch.float64:
    DPOTrainer: loss type "sigmoid" (dpo), "ipo", and "aot" on one pair at a
      time (cdpo: with one pair its order by size is none; the mean of four);
      an answer's log-probability lies on its tokens, and the gradient of any of
      them is that of the sum. TRL's IPO divides sums by numbers of tokens.
    GRPOTrainer: "grpo" with a KL term, and "dapo" with num_items_in_batch =
      the number of tokens, both with epsilon_high=.28; advantages are
      (reward - nanmean) / (nanstd + 1e-4) of trl.trainer.utils.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.objectives.advantages import group_advantages
from genrec_jax.objectives.policy import ppo_clip, reference_kl
from genrec_jax.objectives.preference import dpo, ipo

_FILE = pathlib.Path(__file__).with_name("losses_trl.json")
_HINT = (
  "differs from TRL 1.16.0: a loss is computed in another way. Do not store"
  " other values unless a newer TRL gives them (see the docstring)"
)


@functools.cache
def _golden():
  return json.loads(_FILE.read_text("utf-8"))


def _check(got, expected):
  np.testing.assert_allclose(got, expected, 2e-5, 1e-7, err_msg=_HINT)


@pytest.mark.parametrize("name", ["dpo", "cdpo", "ipo"])
def test_preference_as_trl(name):
  pairs, expected = _golden()["pairs"], _golden()[name]
  lengths = np.array(pairs["lengths"] if name == "ipo" else [[1, 1]] * 4).T
  names = ("policy_chosen", "policy_rejected")
  names += ("reference_chosen", "reference_rejected")
  logs = [jnp.asarray(pairs[n]) for n in names]
  options = {
    k: v for k, v in expected.items() if k in ("beta", "label_smoothing")
  }

  def of(chosen, rejected):
    sums = chosen, rejected, logs[2], logs[3]
    means = [x / lengths[i % 2] for i, x in enumerate(sums)]
    return (ipo if name == "ipo" else dpo)(*means, **options)[0]

  loss, gradients = jax.jit(jax.value_and_grad(of, (0, 1)))(*logs[:2])
  _check(loss, expected["loss"])
  _check(gradients[0], expected["chosen"])
  _check(gradients[1], expected["rejected"])


@pytest.mark.parametrize("name", ["grpo", "dapo"])
def test_policy_as_trl(name):
  samples, expected = _golden()["samples"], _golden()[name]
  policy, old, reference, reward = (
    jnp.asarray(samples[n]) for n in ("policy", "old", "reference", "reward")
  )
  where = jnp.arange(4)[None, None] < jnp.asarray(samples["tokens"])[..., None]
  clip = {"low": samples["low"], "high": samples["high"]}
  by_sample = {"where": where, "sample_mean": name == "grpo"}
  made = group_advantages(reward, epsilon=samples["epsilon"], unbiased=True)
  _check(made.advantage_GK, samples["advantage"])

  def of(policy):
    loss, parts = ppo_clip(
      policy, old, made.advantage_GK[..., None], **clip, **by_sample
    )
    kl, _ = reference_kl(policy, reference, **by_sample)
    return loss + expected["kl_weight"] * kl, parts["clipped"].compute()

  compute = jax.jit(jax.value_and_grad(of, has_aux=True))
  (loss, clipped), gradient = compute(policy)
  _check(loss, expected["loss"])
  _check(gradient, expected["gradient"])
  _check(clipped, expected["clipped"])
