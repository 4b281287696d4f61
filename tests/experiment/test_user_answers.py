# SPDX-License-Identifier: Apache-2.0
"""A trained model is asked of every user, and a ranker reads its answers."""

import pathlib

import jax
import numpy as np
import polars as pl
import pytest

from configs import dcn_kuairand, lum_kuairand
from genrec_jax.core import sharding
from genrec_jax.core.build import to_plain
from genrec_jax.data import times
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.user_vectors import UserVectors
from genrec_jax.experiment import user_answers
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.experiment.user_answers import ask_users, make_user_vectors
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_USERS, _ITEMS = 24, 60


def _small(c):
  c.data.num_users, c.data.num_items = _USERS, _ITEMS
  return c


def _params(run):
  return jax.device_put(run.initial_params(), sharding.local().replicated)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A run that counts as trained, in the folder `lum` of a workdir."""
  workdir = tmp_path_factory.mktemp("work")
  c = _small(lum_kuairand.get_config("quicktest"))
  c.system.backbone.num_layers = 1
  c.requests.batch_size = 16
  run = Run.start(c, workdir / "lum")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(user_answers, "check_finished", lambda run: None)
    patch.setattr(
      user_answers,
      "load_params",
      lambda run, checkpoint: Loaded(_params(run), checkpoint, 3, {}),
    )
    patch.setattr(user_answers, "identity_of", lambda folder: folder.name)
    yield run


@pytest.fixture(scope="module")
def config(trained):
  c = _small(dcn_kuairand.get_config("lum-quicktest"))
  c.prepared = str(trained.workdir / "data")
  c.user_vectors.cuts = tuple(
    f"2023-{month:02}-{day:02}" for month in range(7, 13) for day in (1, 15)
  )
  return c


@pytest.fixture(scope="module")
def made(trained, config):
  return make_user_vectors(to_plain(config), trained.workdir.parent)


def _alone(record, events, seconds):
  """A request of one user behind events that are counted out."""
  history = {
    name: column if name == "user" else column[events]
    for name, column in record.items()
  }
  return Requests(
    user=np.array([record["user"]], np.int32),
    target=np.zeros(1, np.int32),
    history=[history],
    query_time=np.array([seconds], np.int32),
    event=np.array([len(events)], np.int32),
  )


def test_answers_are_of_what_each_user_did_before(trained):
  run = trained
  cuts = [times.unix_seconds(f"2023-{m:02}-01", "") for m in (6, 8, 10, 12)]
  params = _params(run)
  answers = ask_users(run, params, cuts)
  epoch = run.histories.manifest.epoch_seconds
  rows = []
  for user in range(len(run.histories)):
    record, told = run.histories[user], None
    for cut in cuts:
      before = [
        e for e, t in enumerate(record["time"].tolist()) if t + epoch < cut
      ]
      if len(before) != told:
        rows.append((run.users.ids[user], cut, len(before)))
      told = len(before)
  assert not run.system.uses_time
  assert rows == [
    (user, int(until), int(events))
    for user, until, events in zip(
      answers.users, answers.until_R, answers.events_R, strict=True
    )
  ]
  assert len(rows) > _USERS
  answer = jax.jit(
    lambda batch: run.program().ask_of(params)(batch, method="answers")
  )
  for row in (0, len(rows) // 2, len(rows) - 1):
    user, cut, count = rows[row]
    record = run.histories[run.users.index_of(user)]
    request = _alone(record, np.arange(count), cut - epoch)
    expected = answer(run.pipeline.layout.asking_batch(request))[0]
    np.testing.assert_allclose(answers.vectors_RQE[row], expected, atol=1e-5)
  np.testing.assert_allclose(
    answers.items_VE, run.item_vectors(params)[1:], atol=1e-6
  )


def test_what_is_exported_is_up_to_date_or_refused(
  trained, config, made, monkeypatch
):
  workdir, plain = trained.workdir.parent, to_plain(config)
  assert made.queries == tuple(trained.pipeline.layout.queries)
  again = make_user_vectors(plain, workdir)
  assert again.version == made.version
  # Another checkpoint, or other moments.
  monkeypatch.setattr(user_answers, "identity_of", lambda folder: "another")
  with pytest.raises(ValueError, match=f"model: '{made.model}' there, '"):
    make_user_vectors(plain, workdir)
  monkeypatch.undo()
  plain["user_vectors"]["cuts"] = ["2023-09-01"]
  with pytest.raises(ValueError, match="cuts: .* there, .* wanted"):
    make_user_vectors(plain, workdir)


def test_a_cut_within_what_was_trained_on_is_refused(trained, config, tmp_path):
  plain = to_plain(config)
  plain["user_vectors"].update(
    cuts=["2023-02-01"], directory=str(tmp_path / "vectors")
  )
  with pytest.raises(
    ValueError,
    match="asked about at 2023-02-01 00:00:00 UTC, and the model was"
    " trained on events until 2023-",
  ):
    make_user_vectors(plain, trained.workdir.parent)
  assert not (tmp_path / "vectors").exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"cuts": []}, "cuts names no moment"),
    ({"moments": 2}, "unknown key 'moments' in config.user_vectors"),
    ({"workdir": "nowhere"}, "nowhere holds no run"),
  ],
)
def test_sections_that_ask_for_nothing(config, tmp_path, change, message):
  plain = to_plain(config)
  plain["user_vectors"].update(change)
  with pytest.raises(ValueError, match=message):
    make_user_vectors(plain, tmp_path)


def test_what_is_no_date_and_no_section(config, tmp_path):
  with pytest.raises(ValueError, match="cuts='soon' is no date such as"):
    _ = user_answers.AnswerOptions("runs/a", ("soon",)).seconds
  with pytest.raises(ValueError, match="no section 'user_vectors'"):
    make_user_vectors(to_plain(config) | {"user_vectors": {}}, tmp_path)


def test_a_ranker_is_told_the_answers_and_keeps_their_version(
  trained, config, made, tmp_path
):
  config.user_vectors.directory = str(trained.workdir.parent / "user_vectors")
  run = Run.start(config, tmp_path / "ranker")
  run.check_evals()
  kernels = run.abstract_params()["vectors"]
  assert kernels["answers_in"]["kernel"].shape == (64, 16)
  layout = run.pipeline.layout
  shown = next(
    iter_impressions(run.histories, "validation", layout.feedback, 64, 4)
  )
  batch = layout.impression_batch(shown)
  epoch, found = run.histories.manifest.epoch_seconds, 0
  table = pl.read_ipc(trained.workdir.parent / "user_vectors" / "users.arrow")
  for row in range(len(shown)):
    # The latest row of the user that is no later than the request.
    mine = table.filter(
      (pl.col("user") == run.users.ids[shown.user[row]])
      & (pl.col("until") <= int(shown.query_time[row]) + epoch)
    ).sort("until")
    for q, query in enumerate(layout.vectors.queries):
      np.testing.assert_array_equal(
        batch["user_vectors_BLQE"][row, 0, q], mine[f"query/{query}"][-1]
      )
    found += len(mine) > 1
  assert found
  versions = run.artifacts.versions
  assert versions["user_vectors"] == made.version
  with pytest.raises(
    ValueError,
    match="trained with user_vectors of version of-before, and .* holds version"
    f" {made.version}",
  ):
    run.artifacts.check({"user_vectors": "of-before"})


def test_vectors_of_another_data_set_are_refused(
  trained, config, made, tmp_path
):
  config = config.copy_and_resolve_references()
  config.prepared = ""
  config.data.num_users = _USERS - 1
  config.user_vectors.directory = str(trained.workdir.parent / "user_vectors")
  with pytest.raises(ValueError, match="are of another data set"):
    Run.start(config, tmp_path / "ranker")


@pytest.mark.slow
def test_one_command_trains_both_and_exports_between(tmp_path):
  config = _ROOT / "configs" / "dcn_kuairand.py"
  words = [
    _ROOT / "scripts" / "run.py",
    f"--config={config}:lum-quicktest",
    f"--workdir={tmp_path}",
    "--stop_after=training",
    "--config.data.num_users=60",
  ]
  done = commands.run(words)
  assert done.returncode == 0, done.stderr
  stages = [x for x in done.stdout.splitlines() if x.startswith("== ")]
  names = [x.split()[1] for x in stages if ":" not in x]
  assert names == ["data", "before", "user_vectors", "training"]
  made = UserVectors.load(tmp_path / "user_vectors")
  assert made.manifest["run"] == "lum_kuairand-quicktest"
  assert Run.open(tmp_path).artifacts.versions["user_vectors"] == made.version
