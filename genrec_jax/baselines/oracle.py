# SPDX-License-Identifier: Apache-2.0
"""The oracle of a simulated data set: the ranking by the simulator's own p.

    score(i) = p(i is the next item | user, whole history, time of the request)

with the equations of data/simulator/world.py. No ranker can have a higher
expected hit rate, with the history hidden (`allowed`) or not. Everything in p
follows from the history and the time but three traits of the user (interests,
direction, material), which a long history shows well, so a good model can come
near. Events that the log lacks belong to the history. All that is needed lies
beside the prepared data, in truth.npz; (B, V + 1) probabilities are made per
batch of requests.
"""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.baselines.top_k import top_k
from genrec_jax.data import schema
from genrec_jax.data.dataset import catalog as catalog_lib
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.simulator import world as world_lib


class TrueModel:
  """Ranks the catalogue by the true p: the oracle of a simulated data set.

  The session, births and deaths depend on the time of the request
  (requests.query_time), which the model is told, as it is when serving.
  """

  def __init__(
    self,
    world: world_lib.World,
    *,
    epoch_seconds: int,
    purchase_action: int,
    item_numbers: Int[np.ndarray, "rows"],
    user_numbers: Int[np.ndarray, "U"],
  ):
    """The World, and how a prepared data set numbers what is in it.

    Args:
      world: the simulator's draws.
      epoch_seconds: unix seconds at time 0.
      purchase_action: action index of a purchase.
      item_numbers: number in the World by item index; entry 0 is unused.
      user_numbers: number in the World by user index.
    """
    self._world = world
    self._epoch_seconds = epoch_seconds
    self._purchase_action = purchase_action
    self._item_numbers = item_numbers
    self._user_numbers = user_numbers

  @classmethod
  def from_directory(cls, directory: str | os.PathLike) -> "TrueModel":
    """Loads the model of a prepared data set of the synthetic source.

    Raises:
      ValueError: there is no truth.npz, it belongs to another data set, or
        events were dropped after the simulation: the model reads its state
        off whole histories.
    """
    path = pathlib.Path(directory) / world_lib.TRUTH_FILE
    manifest = schema.Manifest.load(directory)
    manifest.check_files(directory, [world_lib.TRUTH_FILE])
    if not path.is_file():
      raise ValueError(
        f"there is no {path}: only a data set of simulator.Synthetic has"
        " a true model."
      )
    users = catalog_lib.Users(directory)
    world = world_lib.World.from_file(path)
    user_numbers = _numbers(world.user_ids, users.ids, path)
    logged_U = world.num_events_U - world.hidden_count()
    simulated_U = logged_U[user_numbers]
    short = np.flatnonzero(simulated_U != users.events)
    if short.size:
      user = short[0]
      raise ValueError(
        f"user {users.ids[user]} has {users.events[user]} events, and the"
        f" simulator made {simulated_U[user]}: the true model needs whole"
        " histories. Prepare with min_user_events=1 and min_item_events=1."
      )
    items = catalog_lib.Catalog(directory)
    item_numbers = _numbers(world.item_ids, items.ids[1:], path)
    return cls(
      world,
      epoch_seconds=manifest.epoch_seconds,
      purchase_action=manifest.actions.index(world_lib.PURCHASE),
      item_numbers=np.concatenate([[0], item_numbers]),
      user_numbers=user_numbers,
    )

  def state(self, requests: Requests) -> world_lib.State:
    """What the next item depends on, read off histories and request times."""
    world = self._world
    unknown = np.flatnonzero(requests.user < 0)
    if unknown.size:
      raise ValueError(
        f"request {unknown[0]} has no known user, and the true model knows"
        " the simulated users only."
      )
    state = world_lib.State.empty(
      world,
      self._user_numbers[requests.user],
      requests.query_time.astype(np.int64) + self._epoch_seconds,
    )
    for b, record in enumerate(requests.history):
      number_L, time_L, bought_L = self._past(
        record, int(state.user_B[b]), int(state.time_B[b])
      )
      if not len(number_L):
        continue
      # Of the events in one category, the last one's tier remains.
      state.tier_BC[b, world.category_V[number_L]] = world.tier_V[number_L]
      state.seen_BV[b, number_L] = True
      state.category_B[b] = world.category_V[number_L[-1]]
      gap_seconds = int(state.time_B[b]) - int(time_L[-1])
      if bought_L[-1]:
        state.before_B[b] = world_lib.AFTER_PURCHASE
      elif gap_seconds < world.session_gap_seconds:
        state.before_B[b] = world_lib.SAME_SESSION
    return state

  def _past(
    self, record: schema.Record, user: int, time: int
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, unix seconds, and what was bought: the log's and the hidden."""
    number_L = self._item_numbers[record["item"]]
    if not len(number_L):
      # An empty history may lack the other fields.
      time_L, bought_L = np.zeros(0, np.int64), np.zeros(0, bool)
    else:
      time_L = record["time"].astype(np.int64) + self._epoch_seconds
      bought_L = record["action"] == self._purchase_action
    world = self._world
    hidden = world.hidden_before(user, time)
    if hidden.start == hidden.stop:
      return number_L, time_L, bought_L
    time_L = np.concatenate([time_L, world.hidden_time_H[hidden]])
    order = np.argsort(time_L, kind="stable")
    number_L = np.concatenate([number_L, world.hidden_item_H[hidden]])
    bought_L = np.concatenate([bought_L, world.hidden_purchase_H[hidden]])
    return number_L[order], time_L[order], bought_L[order]

  def probability(self, requests: Requests) -> Float[np.ndarray, "B V1"]:
    """p(next item) by item index; column 0 (pad) is 0.

    Rows sum to 1 less the share of items that are not in the catalogue.
    """
    p_BV = world_lib.next_item_probability(self._world, self.state(requests))
    p_BV = p_BV[:, self._item_numbers]
    p_BV[:, 0] = 0
    return p_BV

  def search(
    self,
    query: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], dict[str, Any]]:
    """Returns ids and p of the k likeliest allowed items per request, and {}.

    Items that cannot come next (not yet born, dead, p = 0) are never returned;
    places that stay empty hold id 0 and score -inf.
    """
    p_BV = self.probability(query)
    possible_BV = p_BV > 0
    if allowed is not None:
      possible_BV &= allowed.dense()
    return *top_k(p_BV, k, possible_BV), {}


def _numbers(
  known: np.ndarray, ids: Sequence[str], path: pathlib.Path
) -> Int[np.ndarray, "N"]:
  """Place of each id among the World's."""
  place = {name: i for i, name in enumerate(known.tolist())}
  unknown = [name for name in ids if name not in place]
  if unknown:
    raise ValueError(
      f"{path} does not know {unknown[0]!r}: it belongs to another data set."
      " Delete the folder and prepare it again."
    )
  return np.array([place[name] for name in ids], np.int64)
