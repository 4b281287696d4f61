# SPDX-License-Identifier: Apache-2.0
"""Impressions of a catalogue whose items are born and die, day after day.

    item i      born at b_i, shown `visits` times in [b_i, b_i + life_days), one
                in each of as many equal parts of it; births are evenly spaced,
                so that as many items live at any moment
    user u      drawn evenly of those there; all of them stay, or each stays for
                user_life_days and another one comes
    click       P = sigmoid(scale <z_u, v_i> / sqrt(W) + quality q_i + bias)
                z, v ~ N(0, I) in R^W, q ~ N(0, 1)
    drift       z_u <- sqrt(1 - drift^2) z_u + drift N(0, I)      every day

With items_stay nobody is born: the items of the first moment are shown as often
in all, each drawn evenly. The traffic is the same whatever lives and dies, so
that only who it is spread over differs: a user who stays gains impressions for
ever, an item never has more than `visits`. What is known of an item from its
birth on is v + content_noise N(0, I).

Days are counted from 0; the first items were born before it.
"""

import dataclasses

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.option_checks import (
  check_counts,
  check_scales,
  check_shares,
)
from genrec_jax.data import schema
from genrec_jax.data.action_text import SKIP

_DAY = 86_400
# 2024-01-01.
_START = 1_704_067_200
_WHERE = "GrowingCatalog"
CLICK = "click"


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
  """Impressions in order of time, and what made them.

  Attributes:
    time_E: seconds since day 0.
    user_E, item_E: numbers, from 0, in order of birth.
    click_E: 0 or 1.
    chance_E: the probability of a click.
    num_users, num_items: that there ever are.
    born_V: seconds since day 0 at which items were born.
    content_VW: what is known of items.
  """

  time_E: Int[np.ndarray, "E"]
  user_E: Int[np.ndarray, "E"]
  item_E: Int[np.ndarray, "E"]
  click_E: Int[np.ndarray, "E"]
  chance_E: Float[np.ndarray, "E"]
  num_users: int
  num_items: int
  born_V: Float[np.ndarray, "V"]
  content_VW: Float[np.ndarray, "V W"]

  def __len__(self) -> int:
    return len(self.time_E)


@dataclasses.dataclass(frozen=True)
class GrowingCatalog:
  """See the module docstring.

  Attributes:
    num_users: that there are at a time.
    user_life_days: 0 = users stay.
    births_per_day: items.
    life_days: of an item.
    visits: impressions of an item in its life.
    items_stay: nobody is born, nobody dies.
    days: of the log.
    width: W.
    scale: standard deviation of what tastes add to the logit.
    quality: the same of an item's own appeal.
    bias: of the logit.
    drift: share of a taste that is new each day.
    content_noise: see the module docstring.
    seed: of everything.
  """

  num_users: int = 300
  user_life_days: float = 0.0
  births_per_day: int = 40
  life_days: float = 3.0
  visits: int = 50
  items_stay: bool = False
  days: int = 60
  width: int = 4
  scale: float = 3.0
  quality: float = 0.5
  bias: float = -0.5
  drift: float = 0.0
  content_noise: float = 0.3
  seed: int = 0

  def __post_init__(self):
    check_counts(
      self, _WHERE, "num_users", "births_per_day", "visits", "days", "width"
    )
    check_counts(self, _WHERE, "seed", least=0)
    check_scales(
      *(self, _WHERE, "user_life_days", "scale", "quality", "content_noise")
    )
    check_shares(self, _WHERE, "drift")
    alive = self.births_per_day * self.life_days
    if not 1 <= alive < np.inf:
      raise ValueError(
        f"{_WHERE}: {self.births_per_day} births a day that live"
        f" {self.life_days} days leave {alive:g} items at a time; make it one"
        " or more."
      )
    if not np.isfinite(self.bias):
      raise ValueError(f"{_WHERE}.bias={self.bias} must be finite.")

  @property
  def num_alive(self) -> int:
    """Items that live at a moment, when births are evenly spaced."""
    return int(self.births_per_day * self.life_days)

  def draw(self) -> Stream:
    """Runs the simulation."""
    rng = np.random.default_rng(self.seed)
    time_E, item_E, born_V = self._visits(rng)
    num_users, user_E = self._users(rng, time_E)
    v_VW = rng.normal(size=(len(born_V), self.width))
    q_V = rng.normal(size=len(born_V))
    z_EW = self._tastes(rng, num_users, user_E, (time_E // _DAY).astype(int))
    logit_E = self.scale * (z_EW * v_VW[item_E]).sum(axis=1)
    logit_E = logit_E / np.sqrt(self.width) + self.quality * q_V[item_E]
    chance_E = 1 / (1 + np.exp(-(logit_E + self.bias)))
    noise_VW = rng.normal(size=v_VW.shape)
    return Stream(
      time_E=time_E.astype(np.int64),
      user_E=user_E,
      item_E=item_E,
      click_E=(rng.random(len(time_E)) < chance_E).astype(np.int32),
      chance_E=chance_E,
      num_users=num_users,
      num_items=len(born_V),
      born_V=born_V,
      content_VW=v_VW + self.content_noise * noise_VW,
    )

  def read(self) -> schema.RawLog:
    """Simulates; items have content_0, ... content_W-1."""
    stream = self.draw()
    events = pl.DataFrame(
      {
        "user": [f"u{u}" for u in stream.user_E.tolist()],
        "item": [f"i{i}" for i in stream.item_E.tolist()],
        "timestamp": _START + stream.time_E,
        "action": np.array([SKIP, CLICK])[stream.click_E],
      }
    )
    contents = {
      f"content_{w}": stream.content_VW[:, w] for w in range(self.width)
    }
    names = [f"i{i}" for i in range(stream.num_items)]
    return schema.RawLog(
      events=events,
      items=pl.DataFrame({"item": names, "title": names, **contents}),
      timestamp_unit="s",
    )

  def _visits(self, rng):
    """Times of impressions in order, their items, and when items were born."""
    end = self.days * _DAY
    if self.items_stay:
      count = self.days * self.births_per_day * self.visits
      time_E = np.sort(rng.random(count) * end)
      item_E = rng.integers(self.num_alive, size=count)
      return time_E, item_E, np.full(self.num_alive, 0.0)
    life = self.life_days * _DAY
    between = _DAY / self.births_per_day
    count = int(np.ceil(self.births_per_day * (self.days + self.life_days)))
    born_V = between * np.arange(1, count) - life
    part_VM = np.arange(self.visits) + rng.random((len(born_V), self.visits))
    time_E = (born_V[:, None] + part_VM * (life / self.visits)).reshape(-1)
    item_E = np.repeat(np.arange(len(born_V)), self.visits)
    order_E = np.argsort(time_E, kind="stable")
    inside_E = (time_E[order_E] >= 0) & (time_E[order_E] < end)
    order_E = order_E[inside_E]
    return time_E[order_E], item_E[order_E], born_V

  def _users(self, rng, time_E):
    """How many users there ever are, and whose the impressions are."""
    place_E = rng.integers(self.num_users, size=len(time_E))
    if not self.user_life_days:
      return self.num_users, place_E
    # One leaves and one comes, num_users times in a life.
    between = self.user_life_days * _DAY / self.num_users
    gone_E = (time_E // between).astype(int)
    return int(self.days * _DAY / between) + self.num_users, gone_E + place_E

  def _tastes(self, rng, num_users, user_E, day_E):
    """z of the user of every impression, on its day."""
    z_UW = rng.normal(size=(num_users, self.width))
    if not self.drift:
      return z_UW[user_E]
    z_EW = np.empty((len(user_E), self.width))
    kept = np.sqrt(1 - self.drift**2)
    for day in range(self.days):
      today_E = day_E == day
      z_EW[today_E] = z_UW[user_E[today_E]]
      z_UW = kept * z_UW + self.drift * rng.normal(size=z_UW.shape)
    return z_EW
