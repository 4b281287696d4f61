# SPDX-License-Identifier: Apache-2.0
"""A seeded simulator of shoppers, whose true next-item distribution is known.

Items. Each has a category, a tier (its place in the category's range, cheap to
dear), a material, a weight w = rank^-popularity_exponent within its category, a
birth (most before day 0, the others evenly over `days`) and a death (life =
days/10 + an exponential of mean `mean_life_days`). The most popular item of a
category is always alive. Price = base(category) 1.6^tier lognormal(.2).
Users. 2 to 4 interests (categories drawn with a power law, Dirichlet weights
pi_u), a direction (most go up a range, +1, the others down, -1), a material
they like, a number of events (log-normal, min_events to 400) and a span of days
within which these fall.
Sessions. After each event the session ends with probability 1/session_length;
gaps are log-normal (median 40 s, under 30 min) within a session, and 1 h + an
exponential, scaled to the user's span, between sessions.
Events. The next item's category and then the item follow the equations of
data/simulator/world.py: the category stays, moves to its accessory category or
returns to the interests; in it the next tier in the user's direction from the
last one seen THERE, items in the liked material, popular and new ones attract;
seen items are suppressed, not excluded. An item is viewed, put in the cart with
probability .12 (.3 in the liked material), then bought with probability .4: an
event carries the furthest step. After a purchase the category mostly moves on.

So co-occurrence shows a user's categories and materials, but neither the order
of tiers, nor the direction, nor the session's state, nor what is alive.

Options, off by default. season: a twelfth of the items belongs to each month,
and with this probability the next item is one of the current month, so that
years (days=1095) repeat. hidden: a share of events is left out of the log, and
kept in the World as known false negatives (data/simulator/hidden.py). gap_days:
the last two events of a user, which leave-one-out asks for, come that much
later than the event before them. segments:
the freshness of items and the activity of users are columns of their tables
(data/simulator/segments.py).
(Over 350 lines: the draws of items, users and events belong together.)
"""

from collections.abc import Sequence
import dataclasses
import hashlib
from typing import Any

import numpy as np
import polars as pl

from genrec_jax.data import schema
from genrec_jax.data.simulator import segments, titles, world as world_lib
from genrec_jax.data.simulator.hidden import hidden_events
from genrec_jax.data.simulator.world import World

ACTIONS = ("view", "cart", "purchase")
_START = 1_672_531_200  # 2023-01-01 00:00:00 UTC
_DAY = 86_400
_SESSION_GAP = 1_800
_MAX_EVENTS = 400
_CART, _CART_LIKED, _BUY = 0.12, 0.30, 0.40
# A user's events that leave-one-out asks for.
_ASKED = 2


@dataclasses.dataclass(frozen=True)
class Synthetic:
  """The simulator as a source: read() gives the log, the items and the truth.

  Attributes:
    mean_events: of the log-normal number of events of a user, about.
    initial_items: share of items born before day 0.
    upward: share of users whose direction is +1.
    follow, taste, repeat, novelty: see data/simulator/world.py.
    season: probability that an item is one of the month's.
    hidden: share of events, but of users' last two, that the log lacks.
    segments: whether the tables tell freshness and activity.
    stay: least and most of `days` within which a user's events fall.
    gap_days: least and most days before each of a user's last two events;
      none = as before any other event.
  """

  seed: int = 0
  num_users: int = 10_000
  num_items: int = 2_000
  num_categories: int = 20
  num_tiers: int = 5
  num_materials: int = 4
  mean_events: float = 50.0
  min_events: int = 5
  days: int = 365
  session_length: float = 5.0
  initial_items: float = 0.8
  mean_life_days: float = 2_000.0
  popularity_exponent: float = 1.0
  upward: float = 0.8
  follow: float = 30.0
  taste: float = 3.0
  repeat: float = 0.05
  novelty: float = 1.0
  season: float = schema.later(0.0)
  hidden: float = schema.later(0.0)
  segments: bool = schema.later(False)
  stay: Sequence[float] = schema.later((0.1, 0.4))
  gap_days: Sequence[float] = schema.later(())

  def __post_init__(self):
    for name, least in (
      ("num_users", 1),
      ("num_items", self.num_categories),
      ("num_categories", 4),
      ("num_tiers", 2),
      ("num_materials", 1),
      ("min_events", 1),
      ("mean_events", self.min_events),
      ("days", 1),
      ("session_length", 1),
      # A user may have seen all that is alive in a category.
      ("repeat", 1e-6),
    ):
      if getattr(self, name) < least:
        raise ValueError(
          f"Synthetic({name}={getattr(self, name)}): must be at least {least}"
        )
    for name in ("initial_items", "upward", "season", "hidden"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(
          f"Synthetic({name}={getattr(self, name)}): must be in [0, 1]"
        )
    for name, most in (("stay", 1.0), ("gap_days", 3650.0)):
      ends = tuple(getattr(self, name))
      if ends and not (len(ends) == 2 and 0 <= ends[0] <= ends[1] <= most):
        raise ValueError(
          f"Synthetic({name}={ends}): must be the least and the most, from 0"
          f" to {most:g}"
        )
    if not self.stay:
      raise ValueError("Synthetic(stay=()): name the least and the most")

  def draw(self) -> tuple[World, dict[str, np.ndarray]]:
    """Runs the simulation.

    Returns:
      the World, and columns of equal length of what the log tells, user by
      user and in the order of events: user, item (numbers of the World), time
      (unix seconds), session (running number within the user), action (index
      in ACTIONS).
    """
    rng = np.random.default_rng(self.seed)
    world, starts_U, spans_U = self._world(rng)
    # Blocks bound the memory of the (users, items) table of what was seen.
    block = int(np.clip(2**28 // self.num_items, 64, 4096))
    parts = []
    for first in range(0, self.num_users, block):
      users = np.arange(first, min(first + block, self.num_users))
      parts.append(
        _simulate(
          world,
          users,
          starts_U[users],
          spans_U[users],
          1 / self.session_length,
          tuple(_DAY * days for days in self.gap_days),
          np.random.default_rng([self.seed, 1 + first // block]),
        )
      )
    columns = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    return self._hide(world, columns) if self.hidden else (world, columns)

  def read(self) -> schema.RawLog:
    """Simulates. The log is in order of time; value = the item's price."""
    world, columns = self.draw()
    items = self._item_table(world)
    item_E = columns["item"]
    events = pl.DataFrame(
      {
        "user": world.user_ids[columns["user"]],
        "item": world.item_ids[item_E],
        "timestamp": columns["time"],
        "action": np.array(ACTIONS)[columns["action"]],
        "value": items["price"].to_numpy()[item_E],
        "request": columns["session"],
      }
    ).sort("timestamp", maintain_order=True)
    truth = world.to_bytes()
    return schema.RawLog(
      events=events,
      items=items,
      sources={world_lib.TRUTH_FILE: hashlib.sha256(truth).hexdigest()},
      actions=list(ACTIONS),
      users=self._user_table(world) if self.segments else None,
      extras={world_lib.TRUTH_FILE: truth},
      timestamp_unit="s",
    )

  def _item_table(self, world: World) -> pl.DataFrame:
    rng = np.random.default_rng([self.seed, 0])
    base_C = rng.uniform(5, 100, size=self.num_categories)
    price_V = base_C[world.category_V] * 1.6 ** world.tier_V.astype(float)
    price_V *= np.exp(0.2 * rng.normal(size=self.num_items))
    table = pl.DataFrame(
      {
        "item": world.item_ids,
        "title": titles.item_titles(
          world.category_V, world.tier_V, world.material_V
        ),
        "category": [titles.category_name(int(c)) for c in world.category_V],
        "price": np.round(price_V, 2),
        "birth": world.birth_V,
      }
    )
    if self.season:
      table = table.with_columns(month=pl.Series(1 + world.month_V))
    if self.segments:
      end = _START + self.days * _DAY
      fresh_V = segments.freshness(world.birth_V, _START, end)
      table = table.with_columns(freshness=pl.Series(fresh_V))
    return table

  def _user_table(self, world: World) -> pl.DataFrame:
    return pl.DataFrame(
      {
        "user": world.user_ids,
        "activity": segments.activity(world.num_events_U),
      }
    )

  def _hide(
    self, world: World, columns: dict[str, np.ndarray]
  ) -> tuple[World, dict[str, np.ndarray]]:
    """Moves events from the log to the World."""
    rng = np.random.default_rng([self.seed, 0, 2])
    hidden_E = hidden_events(columns["user"], self.hidden, rng)
    gone = {name: column[hidden_E] for name, column in columns.items()}
    world = dataclasses.replace(
      world,
      hidden_user_H=gone["user"],
      hidden_item_H=gone["item"],
      hidden_time_H=gone["time"],
      hidden_purchase_H=gone["action"] == ACTIONS.index(world_lib.PURCHASE),
    )
    return world, {name: c[~hidden_E] for name, c in columns.items()}

  def _world(self, rng) -> tuple[World, np.ndarray, np.ndarray]:
    """Draws items, users, and when each user starts and how long they stay."""
    interest_UK, interest_weight_UK = self._interests(rng)
    sigma = 0.7
    # exp(sigma^2 / 2) is the ratio of a log-normal's mean to its median.
    median = self.mean_events / np.exp(sigma**2 / 2)
    num_events_U = median * np.exp(sigma * rng.normal(size=self.num_users))
    accessory_C = np.roll(np.arange(self.num_categories), -1)
    world = World(
      **self._items(rng),
      accessory_C=accessory_C[rng.permutation(self.num_categories)],
      user_ids=_ids("u", np.arange(self.num_users)),
      num_events_U=np.clip(
        np.round(num_events_U).astype(np.int32),
        self.min_events,
        max(self.min_events, _MAX_EVENTS),
      ),
      interest_UK=interest_UK,
      interest_weight_UK=interest_weight_UK,
      direction_U=np.where(
        rng.random(self.num_users) < self.upward, 1, -1
      ).astype(np.int8),
      material_U=rng.integers(
        self.num_materials, size=self.num_users, dtype=np.int8
      ),
      moves_33=np.array(
        [[0.80, 0.06, 0.14], [0.40, 0.06, 0.54], [0.10, 0.60, 0.30]]
      ),
      num_tiers=self.num_tiers,
      follow=self.follow,
      taste=self.taste,
      repeat=self.repeat,
      novelty=self.novelty,
      novelty_seconds=30.0 * _DAY,
      session_gap_seconds=_SESSION_GAP,
      **self._months(),
    )
    period = self.days * _DAY
    least, most = self.stay
    # Whoever stays longest is gone by the end.
    starts = max(1, int((1 - most) * period))
    starts_U = _START + rng.integers(starts, size=self.num_users)
    spans_U = period * rng.uniform(least, most, size=self.num_users)
    return world, starts_U, spans_U

  def _months(self) -> dict[str, Any]:
    """Which month items belong to, where there is a season."""
    if not self.season:
      return {}
    rng = np.random.default_rng([self.seed, 0, 1])
    month_V = (rng.permutation(self.num_items) % 12).astype(np.int8)
    return {"month_V": month_V, "season": self.season}

  def _items(self, rng) -> dict[str, np.ndarray]:
    num_items, num_categories = self.num_items, self.num_categories
    first_C = np.round(np.linspace(0, num_items, num_categories + 1)).astype(
      np.int64
    )
    category_V = np.repeat(np.arange(num_categories), np.diff(first_C))
    rank_V = np.arange(num_items) - first_C[category_V] + 1
    period = self.days * _DAY
    birth_V = rng.integers(period, size=num_items)
    old_V = rng.random(num_items) < self.initial_items
    birth_V = np.where(old_V, birth_V - period, birth_V)
    life_V = rng.exponential(self.mean_life_days * _DAY, size=num_items)
    # A life that begins before day 0 is one that lasted until then.
    death_V = np.maximum(birth_V, 0) + (0.1 * period + life_V).astype(np.int64)
    evergreen_V = rank_V == 1
    return dict(
      item_ids=_ids("i", rng.permutation(num_items)),
      first_C=first_C,
      category_V=category_V.astype(np.int16),
      tier_V=rng.integers(self.num_tiers, size=num_items, dtype=np.int8),
      material_V=rng.integers(
        self.num_materials, size=num_items, dtype=np.int8
      ),
      weight_V=rank_V**-self.popularity_exponent,
      birth_V=_START + np.where(evergreen_V, -period, birth_V),
      death_V=np.where(evergreen_V, 2**62, _START + death_V),
    )

  def _interests(self, rng) -> tuple[np.ndarray, np.ndarray]:
    """2 to 4 distinct categories per user, and their weights (0 = unused)."""
    rank_C = 1 + rng.permutation(self.num_categories)
    # Gumbel keys: the 4 largest are a draw without replacement.
    key_UC = -0.6 * np.log(rank_C)[None] + rng.gumbel(
      size=(self.num_users, self.num_categories)
    )
    interest_UK = np.argsort(-key_UC, axis=1)[:, :4].astype(np.int16)
    weight_UK = rng.gamma(2.0, size=interest_UK.shape)
    count_U = rng.integers(2, 5, size=self.num_users)
    weight_UK *= np.arange(4)[None] < count_U[:, None]
    return interest_UK, weight_UK / weight_UK.sum(axis=1, keepdims=True)


def _ids(letter: str, numbers: np.ndarray) -> np.ndarray:
  width = len(str(len(numbers)))
  return np.array([f"{letter}{number:0{width}d}" for number in numbers])


def _simulate(
  world: World,
  users: np.ndarray,
  starts_U: np.ndarray,
  spans_U: np.ndarray,
  session_end: float,
  gap_seconds: tuple[float, ...],
  rng: np.random.Generator,
) -> dict[str, np.ndarray]:
  """Runs a block of users side by side, event by event. See Synthetic.draw."""
  # Longest first: those who still go on are then the first rows.
  order = np.argsort(-world.num_events_U[users], kind="stable")
  length_B = world.num_events_U[users[order]]
  between_B = spans_U[order] / (1 + length_B * session_end)
  everyone = world_lib.State.empty(world, users[order], starts_U[order])
  session_B = np.zeros(users.shape, np.int32)
  action_n = np.zeros(0, np.int8)
  steps = []
  for step in range(int(length_B[0])):
    n = int(np.searchsorted(-length_B, -step, side="left"))
    state = everyone.first(n)
    if step:
      opens_n = rng.random(n) < session_end
      late_n = np.zeros(n, bool)
      if gap_seconds:
        late_n = step >= np.maximum(length_B[:n] - _ASKED, 1)
      opens_n |= late_n
      session_B[:n] += opens_n
      _pass_time(state, opens_n, action_n[:n], between_B[:n], rng)
      if gap_seconds:
        later_n = rng.uniform(*gap_seconds, size=n).astype(np.int64)
        state.time_B[:] += np.where(late_n, later_n, 0)
    item_n = _next_items(world, state, rng)
    liked_n = world.material_V[item_n] == world.material_U[state.user_B]
    cart_n = rng.random(n) < np.where(liked_n, _CART_LIKED, _CART)
    action_n = cart_n * (1 + (rng.random(n) < _BUY)).astype(np.int8)
    steps.append(
      dict(
        user=state.user_B,
        item=item_n,
        time=state.time_B.copy(),
        session=session_B[:n].copy(),
        action=action_n,
      )
    )
  columns = {k: np.concatenate([s[k] for s in steps]) for k in steps[0]}
  by_user = np.argsort(columns["user"], kind="stable")
  return {name: column[by_user] for name, column in columns.items()}


def _pass_time(
  state: world_lib.State,
  opens_B: np.ndarray,
  last_action_B: np.ndarray,
  between_B: np.ndarray,
  rng: np.random.Generator,
) -> None:
  """Moves the users on to the time of their next event, in place."""
  size = len(opens_B)
  near_B = np.clip(40 * np.exp(rng.normal(size=size)), 1, _SESSION_GAP - 1)
  far_B = 2 * _SESSION_GAP + between_B * rng.exponential(size=size)
  state.time_B[:] += np.where(opens_B, far_B, near_B).astype(np.int64)
  bought_B = last_action_B == ACTIONS.index(world_lib.PURCHASE)
  session_B = np.where(opens_B, world_lib.NEW_SESSION, world_lib.SAME_SESSION)
  state.before_B[:] = np.where(bought_B, world_lib.AFTER_PURCHASE, session_B)


def _next_items(
  world: World, state: world_lib.State, rng: np.random.Generator
) -> np.ndarray:
  """Draws everybody's next category and item, and notes them in the state."""
  category_B = _draw(
    world_lib.category_probability(
      world, state.user_B, state.before_B, state.category_B
    ),
    rng,
  )
  first_B = world.first_C[category_B]
  size_B = world.first_C[category_B + 1] - first_B
  column_N = np.arange(np.diff(world.first_C).max())
  # Categories differ in size by one: the last column may be a neighbour's.
  inside_BN = column_N[None] < size_B[:, None]
  item_BN = first_B[:, None] + np.where(inside_BN, column_N[None], 0)
  item_B = first_B + _draw(_attraction(world, state, item_BN) * inside_BN, rng)
  if world.season is not None:
    item_B = _in_season(world, state, item_B, rng)
  row_B = np.arange(len(category_B))
  state.category_B[:] = world.category_V[item_B]
  state.tier_BC[row_B, state.category_B] = world.tier_V[item_B]
  state.seen_BV[row_B, item_B] = True
  return item_B


def _in_season(
  world: World,
  state: world_lib.State,
  item_B: np.ndarray,
  rng: np.random.Generator,
) -> np.ndarray:
  """The items drawn, or in their place items of the month."""
  by_month = np.argsort(world.month_V, kind="stable")
  first_M = np.searchsorted(world.month_V[by_month], np.arange(13))
  month_B = world_lib.month_of(state.time_B)
  place_BN = first_M[month_B][:, None] + np.arange(np.diff(first_M).max())
  inside_BN = place_BN < first_M[month_B + 1][:, None]
  item_BN = by_month[np.where(inside_BN, place_BN, 0)]
  a_BN = _attraction(world, state, item_BN) * inside_BN
  takes_B = (rng.random(len(item_B)) < world.season) & (a_BN.sum(axis=1) > 0)
  column_B = _draw(a_BN, rng)
  return np.where(takes_B, item_BN[np.arange(len(item_B)), column_B], item_B)


def _attraction(
  world: World, state: world_lib.State, item_BN: np.ndarray
) -> np.ndarray:
  row_B1 = np.arange(len(item_BN))[:, None]
  return world_lib.attraction(
    world,
    item_BN,
    state.user_B,
    state.time_B,
    state.tier_BC[row_B1, world.category_V[item_BN]],
    state.seen_BV[row_B1, item_BN],
  )


def _draw(weight_BN: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Draws a column per row, in proportion to the weights."""
  sum_BN = np.cumsum(weight_BN, axis=1)
  # 1 - random() is in (0, 1]: a column of weight 0 is never the first to reach.
  threshold_B = (1 - rng.random(len(sum_BN))) * sum_BN[:, -1]
  return np.argmax(sum_BN >= threshold_B[:, None], axis=1)
