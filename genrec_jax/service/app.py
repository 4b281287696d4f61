# SPDX-License-Identifier: Apache-2.0
"""The service over HTTP: routes, and what errors are in it.

    app = create_app(service)                       all of it, on one port
    create_app(service, admin=False)                what callers need
    create_app(service, public=False)               what operators need

/docs is its page of OpenAPI (which fetches its style from the network),
/openapi.json the text. Codes: 422 what is sent cannot be, 404 no such version,
409 not in this state, 413 too large, 429 too often, 503 with Retry-After busy,
starting or ending, 504 too late, 507 nothing can be stored.
"""

from collections.abc import Sequence
import logging
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import (
  APIRouter,
  Body,
  Depends,
  FastAPI,
  Path,
  Request,
  Response,
)
from fastapi.exceptions import RequestValidationError, StarletteHTTPException
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import ValidationError

import genrec_jax
from genrec_jax.service import wire
from genrec_jax.service.edge import Edge, error_of
from genrec_jax.service.metrics import CONTENT_TYPE
from genrec_jax.service.opening import Source
from genrec_jax.service.page import look_html
from genrec_jax.service.quota import Quota
from genrec_jax.service.refused import Refused
from genrec_jax.service.service import Service
from genrec_jax.service.store import NotStored
from genrec_jax.service.workers import apart

_LOG = logging.getLogger("genrec_jax.service")
_SHOWN_ERRORS, _SHOWN_CHARACTERS = 5, 300
_Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_Events = Annotated[
  list[wire.SentEvent], Body(min_length=1, max_length=wire.MOST_EVENTS)
]
_Items = Annotated[
  list[wire.Item], Body(min_length=1, max_length=wire.MOST_ITEMS)
]


def create_app(
  service: Service,
  *,
  public: bool = True,
  admin: bool = True,
  most_bytes: int = 1_000_000,
  quota: Quota | None = None,
) -> FastAPI:
  """The application of a service that somebody else starts and closes.

  Args:
    service: what answers.
    public: have what callers need.
    admin: have what operators need, and the page that shows a user.
    most_bytes: of a body.
    quota: of each caller; None = no limit.
  """
  app = FastAPI(title="genrec_jax", version=genrec_jax.__version__)
  app.include_router(_health(service))
  if public:
    app.include_router(_public(service))
  if admin:
    app.include_router(_admin(service))
    app.include_router(_look(service))
  app.include_router(_models(service, sources=admin))
  _handle_errors(app, service)
  app.add_middleware(
    Edge, metrics=service.metrics, most_bytes=most_bytes, quota=quota
  )
  return app


def _health(service: Service) -> APIRouter:
  router = APIRouter(tags=["health"])

  @router.get("/health/live")
  async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}

  @router.get("/health/ready")
  async def ready() -> dict[str, str]:
    """A model answers, and goes on to."""
    why = service.why_not_ready
    if why:
      raise Refused(503, why, "it should not be asked now.", 1.0)
    return {"status": "ready"}

  return router


def _public(service: Service) -> APIRouter:
  router = APIRouter(prefix="/v1", tags=["answers"])

  @router.post("/recommend")
  async def recommend(body: wire.Recommend) -> dict[str, Any]:
    """The best items for a user, or behind a history that is sent."""
    return await service.recommend(body)

  @router.post("/rank")
  async def rank(body: wire.Rank) -> dict[str, Any]:
    """Scores of given items, in the order in which they are given."""
    return await service.rank(body)

  @router.post("/events")
  async def events(body: _Events) -> dict[str, Any]:
    """Adds events: all of them or none, each once however often it is sent."""
    outcomes = await service.add_events(body)
    return {
      "events": [
        {"event_id": event.event_id, "outcome": outcome}
        for event, outcome in zip(body, outcomes, strict=True)
      ]
    }

  return router


def _models(service: Service, *, sources: bool) -> APIRouter:
  router = APIRouter(prefix="/v1", tags=["answers"])

  @router.get("/models")
  async def models() -> dict[str, Any]:
    """Versions that are loaded, and the share of users that each answers."""
    return {"models": service.versions.told(sources=sources)}

  return router


async def _of_no_other_site(request: Request) -> None:
  """A page of somebody else's, open in a browser here, could send it too."""
  site = request.headers.get("sec-fetch-site", "none")
  if request.method != "GET" and site not in ("same-origin", "none"):
    raise Refused(403, "cross_site", "another site's page sends this.")


_OUR_PAGES = [Depends(_of_no_other_site)]


def _admin(service: Service) -> APIRouter:
  router = APIRouter(tags=["admin"], dependencies=_OUR_PAGES)

  @router.get("/metrics")
  async def metrics() -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)

  @router.post("/v1/models/{name}/load")
  async def load(name: _Name, body: wire.Load) -> dict[str, Any]:
    """Loads, compiles and compares a version; answers when that is done."""
    source = Source(**body.model_dump())
    try:
      version = await apart("load", service.load, name, source)
    except Refused:
      raise
    except Exception as error:
      # Whatever is wrong of it: those that answer go on.
      _LOG.exception("version %s is not loaded", name)
      raise Refused(422, "not_loaded", _said(error)[0]) from error
    return {"name": version.name, "parity": version.parity}

  @router.post("/v1/models/{name}/promote")
  async def promote(
    name: _Name, body: wire.Promote | None = None
  ) -> dict[str, Any]:
    """Gives a loaded version all users, or a share of them."""
    share = 1.0 if body is None else body.share
    # It waits for golden answers.
    await apart("promote", service.promote, name, share)
    return {"shares": dict(service.versions.shares())}

  @router.post("/v1/models/{name}/rollback")
  async def rollback(name: _Name) -> dict[str, Any]:
    """Back to what answered before the last promotion."""
    service.rollback(name)
    return {"shares": dict(service.versions.shares())}

  @router.put("/v1/items")
  async def items(body: _Items) -> dict[str, Any]:
    """Says which items are dead, and what of their attributes has changed."""
    known = await service.put_items(body)
    return {
      "items": [
        {"id": item, "known_to": names.split(",") if names else []}
        for item, names in zip({i.id: 0 for i in body}, known, strict=True)
      ]
    }

  @router.delete("/v1/users/{user_id:path}")
  async def forget(
    user_id: Annotated[str, Path(max_length=wire.LONGEST)],
  ) -> dict[str, Any]:
    """Deletes a user: events that came, and what was trained on counts no
    more."""
    user = wire.id_of(user_id)
    return {"user_id": user, "deleted_events": await service.forget(user)}

  return router


def _look(service: Service) -> APIRouter:
  router = APIRouter(include_in_schema=False, dependencies=_OUR_PAGES)

  @router.get("/", response_class=HTMLResponse)
  async def look(user: str = "", k: int = 10, note: str = "") -> str:
    """One user: history, recommendations, a form for an event."""
    return await look_html(service, user, k, note)

  @router.post("/")
  async def add(request: Request) -> Response:
    """An event from the page's form."""
    sent = parse_qs((await request.body()).decode(errors="replace"))
    form = {name: values[0] for name, values in sent.items()}
    user = form.get("user_id", "")
    try:
      await service.add_events([wire.SentEvent(**form)])
      note = "added"
    except ValueError as error:
      note = _said(error)[0]
    return RedirectResponse(
      f"/?user={quote(user, safe='')}&note={quote(note, safe='')}", 303
    )

  return router


def _handle_errors(app: FastAPI, service: Service) -> None:
  """Every error is JSON of the same keys."""

  def answer(request: Request, refused: Refused) -> JSONResponse:
    service.metrics.rejected(refused.reason)
    headers = {}
    if refused.retry_after_seconds is not None:
      headers["Retry-After"] = str(refused.retry_after_seconds)
    body = error_of(refused, request.state.request_id)
    return JSONResponse(body, refused.status, headers)

  @app.exception_handler(Refused)
  async def refused(request: Request, error: Refused) -> JSONResponse:
    return answer(request, error)

  @app.exception_handler(NotStored)
  async def not_stored(request: Request, error: NotStored) -> JSONResponse:
    _LOG.error("%s", error)
    text = "nothing can be stored now; answers go on."
    return answer(request, Refused(507, "not_stored", text))

  @app.exception_handler(ValueError)
  async def wrong(request: Request, error: ValueError) -> JSONResponse:
    return answer(request, Refused(422, "invalid", _said(error)[0]))

  @app.exception_handler(RequestValidationError)
  async def invalid(
    request: Request, error: RequestValidationError
  ) -> JSONResponse:
    text = "; ".join(_said(error))
    return answer(request, Refused(422, "invalid", text))

  @app.exception_handler(StarletteHTTPException)
  async def other(
    request: Request, error: StarletteHTTPException
  ) -> JSONResponse:
    return answer(
      request, Refused(error.status_code, "http", str(error.detail))
    )

  @app.exception_handler(Exception)
  async def broken(request: Request, error: Exception) -> JSONResponse:
    # What it is stands in the log, and is nobody else's.
    text = "the service fails on this request."
    return answer(request, Refused(500, "internal", text))

  @app.exception_handler(404)
  async def missing(request: Request, error: Exception) -> JSONResponse:
    return answer(request, Refused(404, "no_route", "there is no such path."))


def _said(error: Any) -> Sequence[str]:
  """What is to be said of an error: never what was sent, which may be huge,
  or no JSON at all."""
  if isinstance(error, ValidationError | RequestValidationError):
    texts = [
      f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
      for one in error.errors()[:_SHOWN_ERRORS]
    ]
  else:
    texts = [str(error)]
  return [
    text.encode(errors="backslashreplace").decode()[:_SHOWN_CHARACTERS]
    for text in texts
  ]
