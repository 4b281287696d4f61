# SPDX-License-Identifier: Apache-2.0
"""A bandit of items with two codes, and the loop around it, without files.

A request is in one of four states, and the parameters are the logits of every
state; what came next is the item of the state. All log-probabilities can be
had from the tables by NumPy alone.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.core.types import Outputs
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.decoding.trie import Trie
from genrec_jax.rollout import Online, SampledItems
from genrec_jax.rollout.rewards import TrueNext
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_state
from genrec_jax.train.step import make_train_step

SIZES = (4, 3)
ITEMS = 12
STATES = 4
# What comes next in each state.
TARGETS = np.array([2, 5, 9, 12], np.int32)
KEY = jax.random.key(3)


def codes():
  """Item i has the i-th pair of codes."""
  found = np.zeros((ITEMS + 1, 2), np.int32)
  found[1:] = np.stack(np.divmod(np.arange(ITEMS), SIZES[1]), axis=1)
  return found


class Bandit(nn.Module):
  """Logits of codes by state."""

  num_items: int = ITEMS
  level_sizes: tuple = SIZES

  logical_axes = {}
  uses_time = False
  max_length = 8
  item_tables = ()

  def setup(self):
    near = nn.initializers.normal(0.3)
    self.first = self.param("first", near, (STATES, SIZES[0]))
    self.second = self.param("second", near, (STATES, *SIZES))

  def __call__(self, batch, *, deterministic):
    del batch, deterministic
    return Outputs()

  def start(self, batch):
    state_G = batch["state_G"]
    return state_G, self.first[state_G]

  def step(self, cache, level, codes_BK, parents_BK):
    del level, parents_BK
    return cache, self.second[cache[:, None], codes_BK]


class States:
  """A layout: the state of a request is its user's."""

  def request_batch(self, requests):
    return {"state_G": np.asarray(requests.user, np.int32) % STATES}


@dataclasses.dataclass
class Asked:
  """Requests of steps: a state after the other."""

  count: int

  def at(self, step):
    users = (step + np.arange(self.count)).astype(np.int32) % STATES
    zeros = np.zeros(self.count, np.int32)
    record = {"user": np.array(0), "item": np.zeros(0, np.int32)}
    history = [record] * self.count
    return Requests(users, TARGETS[users], history, zeros, zeros)


def online(requests=16, num_samples=8, reward=None, kind=Online, **options):
  """A rollout that is bound to the bandit."""
  reward = TrueNext() if reward is None else reward
  trie = Trie.build(codes(), SIZES)
  if kind is Online:
    options = {"asked": Asked(requests), **options}
  return kind(
    drawer=options.pop("drawer", SampledItems(num_samples)),
    reward=reward,
    requests=requests,
    layout=States(),
    constants={"trie": trie, "reward": reward.constants},
    **options,
  )


BATCH = {"segment_ids_BL": np.ones((8, 1), np.int32)}


@dataclasses.dataclass
class Training:
  """A state, and the jitted step of a rollout and an objective."""

  rollout: Online
  objective: object
  learning_rate: float = 0.1

  def __post_init__(self):
    system = Bandit()
    optimizer = adamw(self.learning_rate)
    requests = self.rollout.request_batch(0)
    params = init_params_of(system, requests)
    state = init_state(params, optimizer)
    self.state = dataclasses.replace(state, held=self.rollout.hold(params))
    self.step_fn = jax.jit(
      make_train_step(
        system, self.objective, optimizer, KEY, None, self.rollout
      )
    )

  def batch(self, step):
    """All arguments of a step but the state."""
    return (
      BATCH,
      self.rollout.request_batch(step),
      self.rollout.constants,
    )

  def run(self, steps):
    """Means by name of every step."""
    found = []
    for _ in range(steps):
      number = int(self.state.step)
      self.state, metrics = self.step_fn(self.state, *self.batch(number))
      parts = {n: float(m.compute()) for n, m in metrics["parts"].items()}
      found.append({"loss": float(metrics["loss"]), **parts})
    return found


def init_params_of(system, requests):
  """Parameters of the seed; only `start` and `step` make any."""
  variables = system.init(KEY, requests["request"], method="start")
  return variables["params"]


def ask_of(params):
  """The bandit bound to parameters."""

  def ask(*arguments, method):
    return Bandit().apply({"params": params}, *arguments, method=method)

  return ask


def log_softmax(logits):
  """In float64, by NumPy."""
  logits = np.asarray(logits, np.float64)
  logits = logits - logits.max(axis=-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def by_tables(params, state_G, codes_GKT):
  """Log-probabilities of codes, from the tables."""
  first = log_softmax(params["first"])[np.asarray(state_G)]
  second = log_softmax(params["second"])[np.asarray(state_G)]
  codes_GKT = np.asarray(codes_GKT)
  found = np.empty(codes_GKT.shape)
  for g, k in np.ndindex(*codes_GKT.shape[:2]):
    c0, c1 = codes_GKT[g, k]
    found[g, k] = first[g, c0], second[g, c0, c1]
  return found


def different(params):
  """Other parameters."""
  return jax.tree.map(lambda x: x + 0.5 * jnp.cos(7 * x), params)
