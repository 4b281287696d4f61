# SPDX-License-Identifier: Apache-2.0
"""Asks a trained model of every user at some moments; keeps what it answers.

    config.before = {"user_model": "configs/lum_kuairand.py"}
    config.user_vectors = {"directory": "", "workdir": "", "checkpoint": "best",
                           "cuts": ("2022-05-01", "2022-05-02")}

    make_user_vectors(config, workdir)            WORKDIR/user_vectors

An empty workdir is the run that config.before names. At every cut the model is
asked all queries of its layout (core/seams.py: AskingLayout) behind the user's
events before it, also of users without any. A later cut gives a row where the
user has done something since, or where the model reads the time. A cut must be
later than all that the model was trained on, or its parameters would know what
came after: train it on less (`until` of its layout) than the rankers that read
it. What is there and up to date stays; what was made otherwise is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
import pathlib
import time
from typing import Any

from absl import logging
import jax
import numpy as np

from genrec_jax.core import artifact, seams, sharding
from genrec_jax.core.build import build_options
from genrec_jax.data import times
from genrec_jax.data.dataset.requests import Requests, cut, no_requests
from genrec_jax.data.dataset.user_vectors import (
  UserAnswers,
  UserVectors,
  check_made_after,
)
from genrec_jax.experiment.artifacts import KINDS
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.pretrained import identity_of
from genrec_jax.experiment.restored import (
  CHECKPOINTS,
  check_finished,
  load_params,
)
from genrec_jax.semantic_ids.stages import of_run_before

_KIND = "user_vectors"
_WHERE = f"config.{_KIND}"


@dataclasses.dataclass(frozen=True)
class AnswerOptions:
  """config.user_vectors, but for the folder.

  Attributes:
    workdir: of the run that is asked.
    cuts: ISO dates at which, UTC where they name no zone.
    checkpoint: "best" on validation or the "latest". That the best was chosen
      on later events is a look ahead, too.
  """

  workdir: str
  cuts: tuple[str, ...]
  checkpoint: str = "best"

  def __post_init__(self):
    if not self.cuts:
      raise ValueError(f"{_WHERE}.cuts names no moment: name one or several.")

  @property
  def seconds(self) -> list[int]:
    """The cuts in unix seconds, ascending, each once."""
    where = f"{_WHERE}.cuts"
    return sorted({times.unix_seconds(text, where) for text in self.cuts})


def make_user_vectors(
  config: Mapping[str, Any], workdir: str | os.PathLike
) -> UserVectors:
  """The artifact that a config asks for, made where it is not there.

  Raises:
    ValueError: a bad section, no run or one that is not finished, a model that
      cannot be asked, cuts that it knows, or a folder with other vectors.
  """
  section = dict(config.get(_KIND) or {})
  if not section:
    raise ValueError(
      f"the config has no section {_KIND!r}, which this needs: see"
      " genrec_jax/experiment/user_answers.py."
    )
  directory = pathlib.Path(
    section.pop("directory", "") or pathlib.Path(workdir) / KINDS[_KIND].folder
  )
  section = of_run_before(section, _KIND, config, workdir)
  options = build_options(AnswerOptions, section, where=_WHERE)
  run = Run.open(options.workdir)
  seams.require(
    run.system, seams.AnsweringModel, f"config.system of {options.workdir}"
  )
  layout = run.pipeline.layout
  where = f"config.pipeline.layout of {options.workdir}"
  seams.require(layout, seams.AskingLayout, where)
  check_finished(run)
  loaded = load_params(run, options.checkpoint)
  fingerprint = run.histories.manifest.fingerprint
  folder = run.workdir / CHECKPOINTS[loaded.checkpoint]
  asked = {
    "model": artifact.content_hash(fingerprint, identity_of(folder)),
    "queries": list(layout.queries),
    "cuts": options.seconds,
  }
  if directory.exists():
    found = UserVectors.load(directory)
    holds = "vectors of users that were made otherwise"
    artifact.check_asked(directory, found.manifest, asked, holds, _KIND)
    return found
  epoch = run.histories.manifest.epoch_seconds
  trained_until = layout.trained_until(run.histories) + (epoch or 0)
  check_made_after(np.array(options.seconds), trained_until)
  facts = {
    **asked,
    "fingerprint": fingerprint,
    "trained_until": trained_until,
    "made": int(time.time()),
    "run": run.name,
    "step": int(loaded.step),
  }
  answers = ask_users(run, loaded.params, options.seconds)
  return UserVectors.make(answers, facts, directory)


def ask_users(run: Run, params: Any, cuts: Sequence[int]) -> UserAnswers:
  """What a model answers of every user.

  Args:
    run: of a model that can be asked, on data with times.
    params: on this process's devices.
    cuts: unix seconds, ascending.
  """
  program = run.program()
  placement = program.placement

  def ask(params, batch):
    return program.ask_of(params)(batch, method="answers")

  answer = jax.jit(
    ask,
    in_shardings=(program.state_shardings.params, program.request_sharding),
    out_shardings=placement.replicated,
  )
  users, until, events, vectors = [], [], [], []
  for requests, count in _requests(run, cuts):
    batch = run.pipeline.layout.asking_batch(requests)
    batch = sharding.put(batch, program.request_sharding)
    with program.in_force():
      found = np.asarray(jax.device_get(answer(params, batch)))
    vectors.append(found[:count])
    users.append(requests.user[:count])
    until.append(requests.query_time[:count])
    events.append(requests.event[:count])
  epoch = run.histories.manifest.epoch_seconds
  user_R, events_R = np.concatenate(users), np.concatenate(events)
  items_VE = np.asarray(jax.device_get(run.item_vectors(params)))[1:]
  logging.info("%s rows of %s users", len(user_R), len(run.histories))
  return UserAnswers(
    users=[run.users.ids[user] for user in user_R],
    until_R=np.concatenate(until).astype(np.int64) + epoch,
    events_R=events_R,
    vectors_RQE=np.concatenate(vectors),
    items=run.catalog.ids[1:],
    items_VE=items_VE,
  )


def _requests(run: Run, cuts: Sequence[int]) -> Iterator[tuple[Requests, int]]:
  """Requests of one batch size, and how many of them ask something."""
  size, histories = run.requests.batch_size, run.histories
  seconds = np.array(cuts, np.int64) - histories.manifest.epoch_seconds
  rows = []
  for user in range(len(histories)):
    record, told = histories[user], -1
    ends = np.searchsorted(record["time"], seconds)
    for end, moment in zip(ends.tolist(), seconds.tolist(), strict=True):
      if end == told and not run.system.uses_time:
        continue
      told = end
      rows.append((user, record, end, moment))
      if len(rows) == size:
        yield _asked(rows, size)
        rows = []
  if rows:
    yield _asked(rows, size)


def _asked(
  rows: list[tuple[int, Any, int, int]], size: int
) -> tuple[Requests, int]:
  """Requests without targets, filled up by some that ask nothing."""
  nothing = no_requests(size - len(rows))

  def column(place: int, filled: np.ndarray) -> np.ndarray:
    found = np.array([row[place] for row in rows], np.int32)
    return np.concatenate([found, filled])

  requests = Requests(
    user=column(0, nothing.user),
    target=np.zeros(size, np.int32),
    history=[cut(record, end) for _, record, end, _ in rows] + nothing.history,
    query_time=column(3, nothing.query_time),
    event=column(2, nothing.event),
  )
  return requests, len(rows)
