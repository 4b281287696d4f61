# SPDX-License-Identifier: Apache-2.0
"""The runs that claims about the rankers of industry rest on, by role.

A role is a config, its variants and what else is changed of it; its runs are
the seeds: RUNS/ROLE-SEED, made by scripts/run.py. Runs of a config as it is may
stand in results/<config>/<seed>.json as well. Roles of one data set are
compared with each other. studies/industry_claims.py says what is claimed.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import pathlib
import shlex
from typing import Any

from genrec_jax.report.runs import read_result

# {role: {seed: {metric: value}}}
Values = dict[str, dict[int, dict[str, float]]]
_LOG = "kuairand-pure"
_NEXT_MIDNIGHTS = "2022-05-{:02}T00:00:00+08:00"


@dataclasses.dataclass(frozen=True)
class Role:
  """What a run is.

  Attributes:
    form: NAME:VARIANTS of a config.
    data: what its runs share with those that they are compared with.
    changes: KEY=VALUE of the config.
  """

  form: str
  data: str = "log"
  changes: tuple[str, ...] = ()

  @property
  def config(self) -> str:
    """Its name in results/."""
    name, _, variants = self.form.partition(":")
    return "-".join([name, *sorted(filter(None, variants.split("-")))])

  def command(self, role: str, seed: int, runs: str, log: str) -> str:
    """What makes the run of a seed.

    Args:
      role: its name.
      seed: of the training.
      runs: folder of all runs.
      log: folder of KuaiRand-Pure.
    """
    name, colon, variants = self.form.partition(":")
    flags = [f"--config.{change}" for change in self.changes]
    if not self.data.startswith("simulated"):
      flags.append(f"--config.data.path={log}")
    words = [
      *("python", "scripts/run.py"),
      f"--config=configs/{name}.py{colon}{variants}",
      f"--workdir={runs}/{role}-{seed}",
      f"--config.seed={seed}",
      *flags,
    ]
    return shlex.join(words)


def _of(
  config: str, *variants: str, name: str = "", data: str = "log"
) -> dict[str, Role]:
  """A config as it is, and its variants as NAME_VARIANT."""
  name = name or config.partition("_")[0]
  found = {name: Role(config, data)}
  return found | {f"{name}_{v}": Role(f"{config}:{v}", data) for v in variants}


def _asked_until(*days: int) -> tuple[str, ...]:
  cuts = tuple(_NEXT_MIDNIGHTS.format(day) for day in days)
  return (f"user_vectors.cuts={cuts}",)


def _sized(width: int, layers: int) -> tuple[str, ...]:
  """Of a decoder of two heads."""
  backbone = {"num_layers": layers}
  backbone |= dict.fromkeys(("key_width", "value_width"), width // 2)
  sizes = (f"system.backbone.{k}={v}" for k, v in backbone.items())
  return (f"system.width={width}", *sizes)


_WIDE = _sized(128, 4)
_SCENES = "log with scenes"
_MEMORY, _SEARCH = "simulated memory", "simulated search"
ROLES: Mapping[str, Role] = {
  **_of("dlrm_kuairand"),
  **_of("din_kuairand"),
  **_of("dcn_kuairand", "affinity", "windows", "content"),
  **_of("wukong_kuairand"),
  **_of("hstu_ranking_kuairand", "affinity", "windows", "content", name="hstu"),
  **_of("genrank_kuairand", "full_mask"),
  "genrank_wide": Role("genrank_kuairand", changes=_WIDE),
  "genrank_full_mask_wide": Role("genrank_kuairand:full_mask", changes=_WIDE),
  **_of("longer_kuairand", "unmerged", "inner", "no_globals"),
  **_of(
    *("rankmixer_kuairand", "no_mixing", "attention", "shared_ffn", "dtsi"),
    "top_k",
  ),
  **_of("tokenmixer_kuairand", "moe"),
  **_of(
    *("linkedin_kuairand", "linear", "mlp", "mmoe", "dcn_stacked"),
    *("no_positions", "absolute", "silu", "hstu", "no_counts"),
  ),
  **_of("ucr_kuairand", "icr", "counts", "icr-counts"),
  **{
    f"{name}_{form}": Role(f"{name}_kuairand:{form}", _SCENES)
    for name in ("dlrm", "din", "dcn")
    for form in ("recent", "lum")
  },
  "dcn_lum_days_2_to_4": Role("dcn_kuairand:lum", _SCENES, _asked_until(1, 4)),
  "dcn_lum_days_5_to_7": Role("dcn_kuairand:lum", _SCENES, _asked_until(1)),
  "lum_32": Role("lum_kuairand", "user model", _sized(32, 4)),
  "lum_64": Role("lum_kuairand", "user model"),
  "lum_128": Role("lum_kuairand", "user model", _sized(128, 4)),
  **_of(
    *("longer_synthetic", "unmerged", "eight", "uniform", "learned", "din"),
    "din50",
    name="memory",
    data=_MEMORY,
  ),
  **_of(
    *("lemur_synthetic", "frozen", "stop_gradient", "no_contrast"),
    *("no_query_mask", "no_cosines", "no_bank", "reencode", "sampled"),
    data=_SEARCH,
  ),
}


def metrics_of(document: Mapping[str, Any]) -> dict[str, float]:
  """What claims are about, of one evaluated run, on test.

  "long_view/auc", "long_view/gauc", ..., behind frozen histories
  "long_view/frozen_gauc"; within requests "click/qauc"; "recall@10" of what was
  taken; and "parameters".
  """
  sections = document["sections"]
  found = {"parameters": float(document["parameters"])}
  for name, prefix in (("shown_items", ""), ("requests", "")):
    by_task = sections.get(name, {}).get("metrics", {}).get("test", {})
    found |= _flat(by_task, prefix)
  frozen = sections.get("shown_items", {}).get("frozen", {}).get("test", {})
  found |= _flat(frozen, "frozen_")
  taken = sections.get("taken", {}).get("metrics", {}).get("test", {})
  found |= taken.get("model", {})
  return {k: float(v) for k, v in found.items() if v is not None}


def _flat(by_task, prefix):
  return {
    f"{task}/{prefix}{metric}": value
    for task, metrics in by_task.items()
    for metric, value in metrics.items()
  }


def read_values(runs: str, results: str) -> Values:
  """What is there, by role and seed.

  Args:
    runs: folder of runs.
    results: folder of results of configs as they are; "" = none.

  Raises:
    ValueError: runs of one data set that differ in it.
  """
  found: Values = {}
  shared: dict[str, tuple[str, pathlib.Path]] = {}
  for role, one in ROLES.items():
    for path in _documents(role, one, runs, results):
      document = read_result(path)
      theirs = document["fingerprint"]
      first, where = shared.setdefault(one.data, (theirs, path))
      if first != theirs:
        raise ValueError(
          f"{path} is of other data than {where}, and they are to be compared:"
          " name folders of one data set (--results= leaves results out)."
        )
      by_seed = found.setdefault(role, {})
      by_seed.setdefault(document["seed"], metrics_of(document))
  return found


def _documents(
  role: str, one: Role, runs: str, results: str
) -> Iterator[pathlib.Path]:
  """Of the runs of a role, own ones first."""
  for folder in sorted(pathlib.Path(runs).glob(f"{role}-*")):
    path = folder / "evaluation.json"
    if folder.name.removeprefix(f"{role}-").isdigit() and path.is_file():
      yield path
  if results and not one.changes:
    yield from sorted((pathlib.Path(results) / one.config).glob("*.json"))


def missing(
  roles: Sequence[str], values: Values, seeds: int, runs: str, log: str = _LOG
) -> list[str]:
  """Commands of the runs that are not there.

  Args:
    roles: which are wanted.
    values: what is there.
    seeds: 0, 1, ... of each role.
    runs: folder of runs.
    log: folder of KuaiRand-Pure.
  """
  return [
    ROLES[role].command(role, seed, runs, log)
    for role in roles
    for seed in range(seeds)
    if seed not in values.get(role, {})
  ]
