# SPDX-License-Identifier: Apache-2.0
"""A version answers its golden requests once more before it answers anybody,
and those that a bundle was written with."""

import json
import threading

import numpy as np
import pytest

from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.pretrained import identity_of
from genrec_jax.experiment.restored import load_params
from genrec_jax.ranking.candidates import asked_about
from genrec_jax.service import golden, golden_bundle
from genrec_jax.service.engine import EngineOptions
from genrec_jax.service.golden import Golden
from genrec_jax.service.ladder import Ladder
from genrec_jax.service.opening import Opened, Source, open_source
from genrec_jax.service.shapes import Shapes
from genrec_jax.serving.export import golden as exported, tensors
from genrec_jax.serving.export.manifest import GOLDEN, write_manifest
from tests.service import fakes
from tests.service.fakes import STORED, expected


def _golden(known):
  users, ids, data = known
  record = data[3]
  items = expected(ids, record, 5)
  last = int(record["item"][-1])
  scores = [-abs(ids.index(item) - last - 1.0) for item in items]
  return Golden(users[3], tuple(items), tuple(scores))


def _second(service, known, before=None):
  """Loads v2, which has a golden answer."""

  def opener(source, shapes, *, name, num_golden):
    return Opened(fakes.served(before, name=name), (_golden(known),))

  service._open = opener
  return service.load("v2", Source("w"))


def test_a_version_that_has_changed_is_not_promoted(make, known):
  users, _, _ = known
  service, client = make()
  version = _second(service, known)
  # It would show again what the user has seen.
  version.served.filter_history = False
  answer = client("POST", "/v1/models/v2/promote")
  assert answer.status_code == 409 and answer.json()["error"] == "parity"
  assert "is not taken" in answer.json()["detail"]
  assert service.versions.shares() == {"v1": 1.0}
  assert client.recommend(user_id=users[0])["model"] == "v1"
  version.served.filter_history = True
  answer = client("POST", "/v1/models/v2/promote", {"share": 0.5})
  assert answer.json()["shares"] == {"v1": 0.5, "v2": 0.5}
  # What is said again changes nothing, and is asked all the same.
  version.served.filter_history = False
  assert client("POST", "/v1/models/v2/promote").status_code == 409
  assert service.versions.shares() == {"v1": 0.5, "v2": 0.5}


def test_a_version_that_fails_by_now_is_not_promoted(make, known):
  service, client = make()
  broken = []

  def before(requests):
    if broken:
      raise RuntimeError("no memory")

  _second(service, known, before)
  broken.append(True)
  answer = client("POST", "/v1/models/v2/promote")
  # The last step of the ladder answers, which is another list.
  assert answer.status_code == 409 and "model_error" in answer.json()["detail"]
  assert service.versions.shares() == {"v1": 1.0}
  assert client("POST", "/v1/models/nobody/promote").status_code == 404


def test_under_load_nothing_is_compared_nor_promoted(make, known):
  options = EngineOptions(max_wait_seconds=0.0, ladder=Ladder((0.0,) * 4))
  service, client = make(engine=options)
  _second(service, known)
  answer = client("POST", "/v1/models/v2/promote")
  assert answer.status_code == 503 and answer.json()["error"] == "busy"
  assert int(answer.headers["retry-after"]) >= 1
  assert service.versions.shares() == {"v1": 1.0}


def test_of_two_promotions_the_last_is_what_metrics_tell(make, known):
  service, _ = make()
  _second(service, known)
  begun, told = threading.Event(), []

  def slow(shares):
    if not begun.is_set():
      begun.set()
      # The other one would be done by then, if it had a turn.
      threading.Event().wait(0.2)
    told.append({name: share for (name, _), share in shares.items()})

  service.metrics.shares = slow
  first, second = (
    threading.Thread(target=service.promote, args=(name,))
    for name in ("v2", "v1")
  )
  first.start()
  assert begun.wait(20)
  second.start()
  for thread in (first, second):
    thread.join(20)
  assert told[-1] == service.versions.shares() == {"v1": 1.0}


_SHAPES = Shapes(batches=(1, 4), lists=(8, 38), histories=(1, 17))


def _write(folder, kept, **facts):
  """A bundle as far as golden answers are concerned."""
  folder.mkdir()
  for name in ("config.json", "parameters.safetensors"):
    (folder / name).write_text("{}")
  arrays = {}
  for kind, one in kept.items():
    arrays |= tensors.under(one.arrays(), kind)
  tensors.save(folder / GOLDEN, arrays)
  write_manifest(folder, {"programs": {}, **facts})
  return folder


def test_lists_of_a_bundle_are_what_the_run_is_asked(tmp_path):
  run = Run.open(STORED)
  kept = exported.Golden.of_lists(run, load_params(run).params, 5, 20)
  facts = {"data": run.histories.manifest.fingerprint}
  bundle = _write(tmp_path / "bundle", {"lists": kept}, **facts)
  opened = open_source(Source(str(STORED), bundle=str(bundle)), _SHAPES)
  assert opened.identity == identity_of(STORED / "best") != ""
  assert [one.places for one in opened.golden] == [8] * len(kept)
  assert golden.check(opened.served, opened.golden) < 1e-5
  for row, one in enumerate(opened.golden):
    ids = [opened.served.catalog.ids[i] for i in kept.answer["ids_BK"][row, :8]]
    assert [*one.items] == ids
    np.testing.assert_array_equal(
      one.ask(opened.served).record["item"], kept.asked.history[row]["item"]
    )
  # Of another model the same requests tell.
  kept.answer["scores_BK"] = kept.answer["scores_BK"].copy()
  kept.answer["scores_BK"][2] += 0.01
  other = _write(tmp_path / "other", {"lists": kept}, **facts)
  mine = golden_bundle.of_bundle(other, opened.served)
  with pytest.raises(ValueError, match="parity: place 1 .*golden request 2"):
    golden.check(opened.served, mine)
  elsewhere = _write(tmp_path / "elsewhere", {"lists": kept}, data="x")
  with pytest.raises(ValueError, match="of other data"):
    golden_bundle.of_bundle(elsewhere, opened.served)
  logits = _write(tmp_path / "logits", {}, **facts)
  with pytest.raises(ValueError, match="nothing of the bundle"):
    golden_bundle.of_bundle(logits, opened.served)
  path = bundle / GOLDEN
  data = bytearray(path.read_bytes())
  data[-3] ^= 4
  path.write_bytes(data)
  with pytest.raises(ValueError, match=GOLDEN):
    open_source(Source(str(STORED), bundle=str(bundle)), _SHAPES)


def test_logits_of_a_bundle_are_what_a_ranker_is_asked(
  tmp_path, ranker, monkeypatch
):
  data = ranker.histories
  items = np.array([[4, 2, 9, 2, 0], [7, 1, 3, 0, 0]], np.int32)
  times = [int(data[n]["time"][-1]) + 9 for n in range(2)]
  asked = Impressions(
    user=np.zeros(2, np.int32),
    history=[data[0], data[1]],
    query_time=np.array(times, np.int32),
    candidates=items,
    labels=np.zeros_like(items),
    known=items > 0,
    event=np.full_like(items, -1),
  )
  logits = np.zeros((2, 5, 2), np.float32)
  for row in range(2):
    real = items[row][items[row] > 0]
    one = asked_about(data[row], real, times[row], data.manifest.num_items)
    logits[row, : len(real)] = ranker.scorer.score_fn(one)[0]
  kept = exported.Golden(asked, {}, {"logits_BNT": logits})
  facts = {"data": data.manifest.fingerprint}
  bundle = _write(tmp_path / "bundle", {"logits": kept}, **facts)
  served = fakes.served(ranker=ranker)
  mine = golden_bundle.of_bundle(bundle, served)
  assert [one.candidates_N.tolist() for one in mine] == [[2, 4, 9], [1, 3, 7]]
  assert golden.check(served, mine) < 1e-6
  with monkeypatch.context() as patched:
    patched.setattr(golden_bundle.jax, "default_backend", lambda: "abacus")
    with pytest.raises(ValueError, match="on 'abacus': .* cpu, cuda, tpu;"):
      golden_bundle.of_bundle(bundle, served)
  logits[1, 0, 1] += 0.1
  bundle = _write(tmp_path / "other", {"logits": kept}, **facts)
  with pytest.raises(ValueError, match="probabilities of golden request 1"):
    golden.check(served, golden_bundle.of_bundle(bundle, served))
  assert json.loads((bundle / "manifest.json").read_text())["data"]
