# SPDX-License-Identifier: Apache-2.0
"""The simulator's world, and p(next item | user, history, time) in it.

A World holds what the simulator drew once: items, users, and the constants of
the process that data/simulator/synthetic.py runs; a State what the next item
depends on. With c, r the category and tier of the last event, the next category
comes of

    q(c') = stay 1[c' = c] + move 1[c' = accessory(c)] + rest pi_u(c')

(stay, move, rest) depending on whether the request continues the session, opens
a new one, or follows a purchase; a first event has q = pi_u. Then an item i of
c', where r* = r_u(c') + direction_u (mod tiers) is the tier that follows the
last one this user saw IN c' (none on a first visit):

    a(i) = 1[birth_i <= t < death_i] w_i (1 + novelty e^{-(t - birth_i) / tau})
           (1 + follow 1[r_i = r*]) (1 + taste 1[m_i = m_u]) repeat^{1[seen]}
    p(i) = q(c_i) a(i) / sum_{j in c_i} a(j)

With a season, an item has a month m_i, and with probability `season` the next
item comes of the month of t instead, whatever its category (where anything of
that month is alive):

    p(i) = (1 - season) q(c_i) a(i) / sum_{j in c_i} a(j)
           + season 1[m_i = month(t)] a(i) / sum_{j: m_j = month(t)} a(j)

Events that the log lacks (data/simulator/hidden.py) are in the World, and in
the history that p depends on.

Items are numbered by category, so a category is a contiguous run of columns.
Simulation and ranking (baselines/oracle.py) call the same functions.
"""

import dataclasses
import io
import os

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.core import artifact

# Rows of World.moves_33: what came before the request.
# The file beside a simulated data set that holds its World.
TRUTH_FILE = "truth.npz"
PURCHASE = "purchase"
SAME_SESSION, NEW_SESSION, AFTER_PURCHASE = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class World:
  """What the simulator drew once, and the constants of its process.

  V items, U users, C categories, K interests per user (weight 0 = unused).
  Times are unix seconds. Items are in category order: category c holds items
  first_C[c] .. first_C[c + 1] - 1 (first_C has C + 1 entries).

  Without a season month_V (0 = January) and season are None; hidden_* are the
  H events that the log lacks, user by user in time, or None.
  """

  item_ids: np.ndarray
  first_C: np.ndarray
  category_V: np.ndarray
  tier_V: np.ndarray
  material_V: np.ndarray
  weight_V: np.ndarray
  birth_V: np.ndarray
  death_V: np.ndarray
  accessory_C: np.ndarray
  user_ids: np.ndarray
  num_events_U: np.ndarray
  interest_UK: np.ndarray
  interest_weight_UK: np.ndarray
  direction_U: np.ndarray
  material_U: np.ndarray
  moves_33: np.ndarray
  num_tiers: int
  follow: float
  taste: float
  repeat: float
  novelty: float
  novelty_seconds: float
  session_gap_seconds: int
  month_V: np.ndarray | None = None
  season: float | None = None
  hidden_user_H: np.ndarray | None = None
  hidden_item_H: np.ndarray | None = None
  hidden_time_H: np.ndarray | None = None
  hidden_purchase_H: np.ndarray | None = None

  @property
  def num_items(self) -> int:
    return len(self.item_ids)

  @property
  def num_categories(self) -> int:
    return len(self.accessory_C)

  def to_bytes(self) -> bytes:
    """The content of truth.npz: plain arrays, nothing pickled."""
    file = io.BytesIO()
    there = {k: v for k, v in vars(self).items() if v is not None}
    np.savez_compressed(file, **there)
    return file.getvalue()

  @classmethod
  def from_file(cls, path: str | os.PathLike) -> "World":
    """Reads truth.npz; ValueError when it is damaged, or of another make."""
    fields = dataclasses.fields(cls)
    names = {field.name for field in fields}
    needed = {f.name for f in fields if f.default is dataclasses.MISSING}
    arrays = artifact.load_arrays(path)
    if not needed <= set(arrays) <= names:
      raise ValueError(
        f"{path} holds {sorted(arrays)}, not the arrays of this version's"
        f" simulator {sorted(needed)}: prepare the data set again"
      )
    return cls(**{k: v if v.ndim else v.item() for k, v in arrays.items()})

  def hidden_before(self, user: int, time: int) -> slice:
    """Where the hidden events of a user before a time lie, in hidden_*."""
    if self.hidden_user_H is None:
      return slice(0, 0)
    first, end = np.searchsorted(self.hidden_user_H, [user, user + 1])
    past = np.searchsorted(self.hidden_time_H[first:end], time)
    return slice(int(first), int(first + past))

  def hidden_count(self) -> Int[np.ndarray, "U"]:
    """Number of hidden events of each user."""
    users = len(self.user_ids)
    if self.hidden_user_H is None:
      return np.zeros(users, np.int64)
    return np.bincount(self.hidden_user_H, minlength=users)


@dataclasses.dataclass(frozen=True)
class State:
  """What the next item depends on, for a batch of users.

  Attributes:
    user_B: user numbers of the World.
    time_B: unix seconds of the request.
    before_B: SAME_SESSION, NEW_SESSION or AFTER_PURCHASE.
    category_B: of the last event, -1 where there is none.
    tier_BC: last tier seen in each category, -1 where there is none.
    seen_BV: items in the history.
  """

  user_B: np.ndarray
  time_B: np.ndarray
  before_B: np.ndarray
  category_B: np.ndarray
  tier_BC: np.ndarray
  seen_BV: np.ndarray

  @classmethod
  def empty(
    cls,
    world: World,
    user_B: Int[np.ndarray, "B"],
    time_B: Int[np.ndarray, "B"],
  ) -> "State":
    """Users without a history."""
    size = len(user_B)
    return cls(
      user_B=user_B,
      time_B=time_B.astype(np.int64),
      before_B=np.full(size, NEW_SESSION),
      category_B=np.full(size, -1),
      tier_BC=np.full((size, world.num_categories), -1, np.int8),
      seen_BV=np.zeros((size, world.num_items), bool),
    )

  def first(self, count: int) -> "State":
    """The first users, as views: writing to them changes this State."""
    return State(**{name: array[:count] for name, array in vars(self).items()})


def category_probability(
  world: World,
  user_B: Int[np.ndarray, "B"],
  before_B: Int[np.ndarray, "B"],
  category_B: Int[np.ndarray, "B"],
) -> Float[np.ndarray, "B C"]:
  """q(c'): the category of the next event."""
  stay_B, move_B, rest_B = world.moves_33[before_B].T
  first_B = category_B < 0
  row_B = np.arange(len(user_B))
  q_BC = np.zeros((len(user_B), world.num_categories))
  rest_B = np.where(first_B, 1.0, rest_B)
  np.add.at(
    q_BC,
    (row_B[:, None], world.interest_UK[user_B]),
    rest_B[:, None] * world.interest_weight_UK[user_B],
  )
  q_BC[row_B, category_B] += np.where(first_B, 0.0, stay_B)
  accessory_B = world.accessory_C[category_B]
  q_BC[row_B, accessory_B] += np.where(first_B, 0.0, move_B)
  return q_BC


def attraction(
  world: World,
  item_BN: Int[np.ndarray, "#B N"],
  user_B: Int[np.ndarray, "B"],
  time_B: Int[np.ndarray, "B"],
  last_tier_BN: Int[np.ndarray, "B #N"],
  seen_BN: Bool[np.ndarray, "B N"],
) -> Float[np.ndarray, "B N"]:
  """a(i) of some items: how they compare WITHIN their category.

  last_tier_BN: the tier the user saw last in the item's category, or -1.
  """
  age_BN = time_B[:, None] - world.birth_V[item_BN]
  alive_BN = (age_BN >= 0) & (time_B[:, None] < world.death_V[item_BN])
  fresh_BN = np.exp(-np.maximum(age_BN, 0) / world.novelty_seconds)
  next_tier_BN = (last_tier_BN + world.direction_U[user_B][:, None]) % (
    world.num_tiers
  )
  follows_BN = world.tier_V[item_BN] == next_tier_BN
  follows_BN &= last_tier_BN >= 0
  liked_BN = world.material_V[item_BN] == world.material_U[user_B][:, None]
  a_BN = alive_BN * world.weight_V[item_BN]
  a_BN *= 1 + world.novelty * fresh_BN
  a_BN *= 1 + world.follow * follows_BN
  a_BN *= 1 + world.taste * liked_BN
  return np.where(seen_BN, world.repeat * a_BN, a_BN)


def next_item_probability(
  world: World, state: State
) -> Float[np.ndarray, "B V"]:
  """p(next item): rows sum to 1; columns are the World's items."""
  a_BV = attraction(
    world,
    np.arange(world.num_items)[None],
    state.user_B,
    state.time_B,
    state.tier_BC[:, world.category_V],
    state.seen_BV,
  )
  q_BC = category_probability(
    world, state.user_B, state.before_B, state.category_B
  )
  # Each category has an item that is always alive: no sum is 0.
  scale_BC = q_BC / np.add.reduceat(a_BV, world.first_C[:-1], axis=1)
  p_BV = a_BV * scale_BC[:, world.category_V]
  if world.season is None:
    return p_BV
  seasonal_BV = a_BV * (world.month_V == month_of(state.time_B)[:, None])
  sum_B = seasonal_BV.sum(axis=1)
  share_B = np.where(sum_B > 0, world.season, 0.0)
  seasonal_BV *= (share_B / np.where(sum_B > 0, sum_B, 1.0))[:, None]
  return (1 - share_B)[:, None] * p_BV + seasonal_BV


def month_of(time_B: Int[np.ndarray, "B"]) -> Int[np.ndarray, "B"]:
  """The month of unix seconds, in UTC; 0 = January."""
  return time_B.astype("M8[s]").astype("M8[M]").astype(np.int64) % 12
