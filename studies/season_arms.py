# SPDX-License-Identifier: Apache-2.0
"""The trainings of the season study: what they are, and each of them run.

    kind      long      48 events over three years, the next one asked for
              gap       within 60 days, and asked 90 to 270 days later
              sessions  the whole simulator, no season
    share     of events that are of an item of their month
    arm       variants of configs/commerce_synthetic.py; ORACLE, the true model

An arm of a seed is trained and asked by what genrec train and genrec evaluate
call. What it measured is one JSON file in WORKDIR/arms; then its checkpoints
go, and it is not run again.
"""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
import shutil
import time
from typing import Any

import jax
import numpy as np

from configs import commerce_synthetic
from genrec_jax.baselines.oracle import TrueModel
from genrec_jax.core import atomic
from genrec_jax.core.build import build, to_plain
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.evaluation.full_ranking import evaluate
from genrec_jax.experiment.restored import load_params
from genrec_jax.train.termination import Termination
from studies.trained_arm import trained_arm

KINDS = ("long", "gap", "sessions")
ORACLE = "oracle"
SHARE, LOWER_SHARES = 0.7, (0.0, 0.2, 0.45)
ARMS = (
  *("no_time", "bias", "rotary", "year", "calendar", "calendar_token"),
  *("bias-rotary", "bias-year", "bias-calendar", "year-calendar"),
)
# The gaps of a history in another order: what a bias has besides times.
SHUFFLED = "bias-shuffled"
# What more season, and what sessions, are asked of.
_PAIR, _TIMED = ("bias", "bias-calendar"), ("no_time", "bias", SHUFFLED)
_KS = (1, 5, 10)


@dataclasses.dataclass(frozen=True)
class Arm:
  """One training, or the true model of its data."""

  kind: str
  share: float
  seed: int
  arm: str

  @property
  def data(self) -> str:
    """Names the data, which arms share."""
    return f"{self.kind}-{self.share:g}-{self.seed}"

  @property
  def name(self) -> str:
    """Names what was measured."""
    return f"{self.data}-{self.arm}"


def arms(seeds: int) -> list[Arm]:
  """All of the study, seed by seed.

  Raises:
    ValueError: no seed.
  """
  if seeds < 1:
    raise ValueError(f"--seeds={seeds}: a study needs one or more.")
  found = []
  for seed in range(seeds):
    for kind in ("long", "gap"):
      found += [Arm(kind, SHARE, seed, a) for a in (ORACLE, *ARMS)]
    for share in LOWER_SHARES:
      found += [Arm("long", share, seed, a) for a in (ORACLE, *_PAIR)]
    found += [Arm("sessions", 0.0, seed, a) for a in (ORACLE, *_TIMED)]
  return found


def config_of(arm: Arm, *, quick: bool) -> dict[str, Any]:
  """The config of an arm, and of the data of the true model.

  Args:
    arm: of which seed too: a seed has parameters and data of its own.
    quick: few users and steps.
  """
  variants = [] if arm.arm == ORACLE else [arm.arm]
  variants += [arm.kind] if arm.kind != "long" else []
  c = commerce_synthetic.get_config("-".join(variants))
  c.seed = c.data.seed = arm.seed
  if "season" in c.data:
    c.data.season = arm.share
  if quick:
    c.data.num_users = 40
    c.train.update(steps=3, eval_every_steps=3, eval_users=20)
    c.pipeline.batch_size = 8
  return json.loads(json.dumps(to_plain(c)))


def measured(arm: Arm, workdir: pathlib.Path, *, quick: bool) -> dict | None:
  """What a finished arm says; None of one that is not.

  Raises:
    ValueError: it was run with another config.
  """
  path = workdir / "arms" / f"{arm.name}.json"
  if not path.is_file():
    return None
  found = json.loads(path.read_text())
  if found["config"] != config_of(arm, quick=quick):
    raise ValueError(
      f"{path} is of another config (--quick, or another version): give another"
      " --workdir, or delete it."
    )
  return found


def run(
  arm: Arm,
  workdir: pathlib.Path,
  termination: Termination,
  *,
  quick: bool,
) -> dict[str, Any]:
  """Trains an arm, or goes on with it, asks it and keeps what it says.

  Raises:
    Stopped: a signal came in between.
  """
  begun = time.perf_counter()
  config = config_of(arm, quick=quick)
  data = workdir / "data" / arm.data
  prepare(
    build(config["data"]), build(config["split"]), data, **config["filter"]
  )
  found = {"config": config}
  if arm.arm == ORACLE:
    found["metrics"] = _expected(data)
  else:
    folder = workdir / "runs" / arm.name
    folder.mkdir(parents=True, exist_ok=True)
    trained = trained_arm(
      {**config, "prepared": str(data)}, folder, termination
    )
    params = load_params(trained).params
    found["metrics"] = _asked(
      trained.search(params, trained.index(params)), data
    )
    found["time_bias"] = _time_bias(params)
    shutil.rmtree(folder)
  found["seconds"] = round(time.perf_counter() - begun, 1)
  path = workdir / "arms" / f"{arm.name}.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write_text(path, json.dumps(found, indent=1) + "\n")
  return found


def _asked(search: Any, data: pathlib.Path) -> dict[str, float]:
  """Metrics of the test part, with the history among the candidates."""
  histories = Histories(data)
  return evaluate(
    search,
    iter_requests(histories, "test", 128),
    num_items=histories.manifest.num_items,
    ks=_KS,
    filter_history=False,
  ).metrics


def _expected(data: pathlib.Path) -> dict[str, float]:
  """What the metrics of the true model are on average, without any noise.

  A hit at place r has the probability of the item there.
  """
  model = TrueModel.from_directory(data)
  most = max(_KS)
  best = [
    -np.sort(-model.probability(requests), axis=1)[:, :most]
    for requests in iter_requests(Histories(data), "test", 128)
  ]
  p_K = np.concatenate(best).mean(axis=0)
  gain_K = p_K / np.log2(np.arange(most) + 2)
  return {f"hr@{k}": float(p_K[:k].sum()) for k in _KS} | {
    f"ndcg@{k}": float(gain_K[:k].sum()) for k in _KS
  }


def _time_bias(params: Any) -> Sequence[float] | None:
  """The bias of each time bucket, mean over layers; None without one."""
  tables = [
    np.asarray(x)
    for path, x in jax.tree.leaves_with_path(params)
    if jax.tree_util.keystr(path).endswith("['relative_bias']['time']")
  ]
  return np.mean(tables, axis=0).tolist() if tables else None
