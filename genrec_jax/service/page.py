# SPDX-License-Identifier: Apache-2.0
"""A page to look at one user: history, list with scores, a form for an event.

It is made on the server and needs neither script nor network. It shows what it
is asked of whomever, so it belongs where operators are.
"""

from collections.abc import Sequence
import html
import time
import uuid

from genrec_jax.data.schema import Record
from genrec_jax.service import wire
from genrec_jax.service.refused import Refused
from genrec_jax.service.served import Served
from genrec_jax.service.service import Service

_EVENTS = 20
_MOST = 200
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; color: #1b1f24; background: #fff }
main { display: grid; grid-template-columns: 1fr 1fr; gap: 2rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .2rem .6rem .2rem 0;
  border-bottom: 1px solid #e3e6ea; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums }
input { font: inherit; padding: .2rem .4rem }
small { color: #57606a }
@media (max-width: 48rem) { main { grid-template-columns: 1fr } }
"""


async def look_html(service: Service, user: str, k: int, note: str) -> str:
  """The page of a user, or of nobody yet; errors are said on it."""
  body = ""
  if user:
    try:
      body = await _user(service, user, max(1, min(k, _MOST)))
    except (Refused, ValueError) as error:
      body = f"<p>{_text(str(error)[:300])}</p>"
  note = f"<p><small>{_text(note[:300])}</small></p>" if note else ""
  return (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width">'
    f"<title>One user</title><style>{_STYLE}</style><h1>One user</h1>"
    '<form method="get"><input name="user" required placeholder="user id"'
    f' value="{_text(user)}"> <input name="k" size="3" value="{k}">'
    f" <button>Show</button></form>{note}{body}</html>"
  )


async def _user(service: Service, user: str, k: int) -> str:
  body = wire.Recommend(user_id=user, k=k)
  user = body.user_id
  answer = await service.recommend(body)
  version, record, _ = service.look(user)
  served = version.served
  rows = [
    [str(place), _named(served, item["id"]), f"{item['score']:.4f}"]
    for place, item in enumerate(answer["items"], 1)
  ]
  about = f"version {answer['model']}"
  if answer["degraded"]:
    about += f", {answer['reason']}"
  if answer["short"]:
    about += f"; {answer['short']}"
  total = len(record["item"])
  return (
    f"<main><section><h2>Recommended</h2><p><small>{_text(about)}</small></p>"
    f"{_table(('', 'Item', 'Score'), rows)}</section>"
    f"<section><h2>History</h2><p><small>the last of {total} events</small></p>"
    f"{_table(('When', 'Item', 'Action'), _events(served, record))}"
    f"{_form(user)}</section></main>"
  )


def _events(served: Served, record: Record) -> list[list[str]]:
  """The last events, the newest first."""
  times = served.histories.times(record)
  actions = served.histories.manifest.actions
  found = []
  for n in range(len(record["item"]) - 1, -1, -1)[:_EVENTS]:
    when = "" if times is None or times[n] is None else f"{times[n]:%F %R}"
    action = actions[record["action"][n]] if "action" in record else ""
    item = served.catalog.ids[record["item"][n]]
    found.append([when, _named(served, item), action])
  return found


def _named(served: Served, item_id: str) -> str:
  title = served.catalog.titles[served.catalog.index_of(item_id)]
  return item_id if title in ("", item_id) else f"{title} [{item_id}]"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  head = "".join(f"<th>{_text(name)}</th>" for name in names)
  body = "".join(
    "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>"
    for row in rows
  )
  return f"<table><tr>{head}</tr>{body}</table>"


def _form(user: str) -> str:
  hidden = "".join(
    f'<input type="hidden" name="{name}" value="{_text(value)}">'
    for name, value in (
      ("user_id", user),
      ("event_id", uuid.uuid4().hex),
      ("time", str(int(time.time()))),
    )
  )
  return (
    f'<h3>Add an event</h3><form method="post" action="/">{hidden}'
    '<input name="item" required placeholder="item id">'
    ' <input name="action" placeholder="action"> <button>Add</button></form>'
  )


def _text(value: str) -> str:
  return html.escape(value, quote=True)
