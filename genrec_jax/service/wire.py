# SPDX-License-Identifier: Apache-2.0
"""What may be sent: bodies of requests, checked where they enter.

An id is a text or a whole number (data/ids.py: 1 and "1" are one). Keys that
are not here are errors, so that a misspelt one is not silently ignored.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from genrec_jax.data import ids
from genrec_jax.service.store import Event

LONGEST = 512
_WIDEST = 2**63 - 1
MOST_EVENTS, MOST_ITEMS = 1000, 1000


def _encodable(text: str) -> str:
  """A lone surrogate is no text: nothing could be answered that names it."""
  text.encode()
  return text


def id_of(value: str | int) -> str:
  """An id as its text; a ValueError where it is none."""
  text = _encodable(ids.text_of(value))
  if not text.strip():
    raise ValueError("an id must not be empty")
  return text


def _text(longest: int) -> Any:
  return Annotated[
    str, Field(max_length=longest, strict=True), AfterValidator(_encodable)
  ]


Id = Annotated[
  Annotated[str, Field(min_length=1, max_length=LONGEST, strict=True)]
  | Annotated[int, Field(ge=-_WIDEST, le=_WIDEST, strict=True)],
  AfterValidator(id_of),
]
Text, Words = _text(LONGEST), _text(2000)
Scalar = (
  Annotated[bool, Field(strict=True)]
  | Annotated[int, Field(ge=-_WIDEST, le=_WIDEST, strict=True)]
  | Annotated[float, Field(allow_inf_nan=False, strict=True)]
  | Text
)
# What float32 holds, which models read.
Value = Annotated[float, Field(ge=-3e38, le=3e38, allow_inf_nan=False)]
# Unix seconds; larger ones are of another unit.
Seconds = Annotated[float, Field(ge=-1e11, le=1e11, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class _Body(BaseModel):
  model_config = ConfigDict(extra="forbid")


class PastEvent(_Body):
  """An event of a history that is sent."""

  item: Id
  action: Text | None = None
  value: Value | None = None
  time: Seconds | None = None


class Context(_Body):
  """Where and when is asked."""

  time: Annotated[int, Field(ge=-(10**11), le=10**11)] | None = None


class _Asking(_Body):
  """What lists and scores have in common."""

  request_id: Text | None = None
  user_id: Id | None = None
  history: Annotated[list[Id | PastEvent], Field(max_length=10_000)] | None = (
    None
  )
  context: Context = Context()
  policy: Words = "greedy"
  what_if: Words = ""
  deadline_ms: Annotated[int, Field(ge=1, le=60_000)] | None = None
  model: Name | None = None


class Recommend(_Asking):
  """The best items for somebody."""

  k: Annotated[int, Field(ge=1, le=_WIDEST, strict=True)] = 10
  exclude: Annotated[list[Id], Field(max_length=100_000)] = []
  allow: Annotated[list[Id], Field(max_length=100_000)] | None = None
  filter: Annotated[
    dict[Text, Scalar | list[Scalar]], Field(max_length=32)
  ] = {}
  filter_history: Annotated[bool, Field(strict=True)] | None = None


class Rank(_Asking):
  """What somebody would make of given items."""

  candidates: Annotated[list[Id], Field(min_length=1, max_length=10_000)]
  weights: dict[Text, Annotated[float, Field(allow_inf_nan=False)]] = {}


class SentEvent(_Body):
  """Something that a user did."""

  event_id: Id
  user_id: Id
  item: Id
  action: Text = ""
  time: Seconds
  value: Value | None = None

  def kept(self) -> Event:
    """As a store keeps it."""
    return Event(
      self.event_id,
      self.user_id,
      self.item,
      self.action,
      round(self.time * 10**6),
      self.value,
    )


class Item(_Body):
  """What has changed of an item."""

  id: Id
  dead: Annotated[bool, Field(strict=True)] = False
  attributes: Annotated[dict[Text, Scalar | None], Field(max_length=64)] = {}


class Load(_Body):
  """Where a version comes from (opening.py)."""

  workdir: Words
  ranker: Words | None = None
  retriever: Text | None = None
  checkpoint: Text = "best"
  num_candidates: Annotated[int, Field(ge=1, le=100_000)] = 100
  weights: Words = ""
  pre_ranker: Words | None = None
  num_pre_candidates: Annotated[int, Field(ge=1, le=100_000)] = 500
  bundle: Words | None = None


class Promote(_Body):
  """How many users a version gets."""

  share: Annotated[float, Field(gt=0, le=1)] = 1.0
