# SPDX-License-Identifier: Apache-2.0
"""Runs by the role that they play in a claim: ROLE=WORKDIR,WORKDIR,...

Runs of a role are the seeds of one config, evaluated (genrec evaluate). A JSON
file, such as those in results/, stands for a run whose workdir is not there.
"""

from collections.abc import Callable, Mapping, Sequence
import pathlib
from typing import Any

from genrec_jax.core.suggest import choices_hint
from genrec_jax.evaluation.document import read
from genrec_jax.report.runs import read_result

# Ending of a result that stands for its run.
FILE = ".json"
# {role: {seed: {metric: value}}}
Values = dict[str, dict[int, dict[str, float]]]


def roles_of(
  texts: Sequence[str], known: Sequence[str]
) -> dict[str, list[str]]:
  """{role: workdirs} of ROLE=WORKDIR,WORKDIR,...

  Args:
    texts: of a flag.
    known: roles that there are.

  Raises:
    ValueError: an unknown role, or no workdir.
  """
  found: dict[str, list[str]] = {}
  for text in texts:
    role, _, workdirs = text.partition("=")
    if role not in known:
      hint = choices_hint(role, known)
      raise ValueError(f"--runs={text}: there is no role {role!r}.{hint}")
    folders = [folder for folder in workdirs.split(",") if folder]
    if not folders:
      raise ValueError(f"--runs={text} names no workdir.")
    found.setdefault(role, []).extend(folders)
  if not found:
    raise ValueError("name the runs: --runs=ROLE=WORKDIR,WORKDIR,...")
  return found


def values_of(
  roles: Mapping[str, Sequence[str]],
  metrics_of: Callable[[Mapping[str, Any]], dict[str, float]],
  data_of: Callable[[str], str],
) -> Values:
  """Metrics by role and seed, of what genrec evaluate wrote.

  Args:
    roles: {role: workdirs}.
    metrics_of: what the claims are about, of one evaluated run.
    data_of: a role's data, by any name: roles of one name are of one data set.

  Raises:
    ValueError: a run that is not evaluated, of other data than the rest, or
      whose seed was given before.
  """
  found: Values = {}
  fingerprints: dict[str, str] = {}
  for role, folders in roles.items():
    by_seed = found.setdefault(role, {})
    for folder in folders:
      is_file = pathlib.Path(folder).suffix == FILE
      document = read_result(folder) if is_file else read(pathlib.Path(folder))
      theirs = document["fingerprint"]
      same = fingerprints.setdefault(data_of(role), theirs) == theirs
      if document["seed"] in by_seed or not same:
        raise ValueError(
          f"{folder}: seed {document['seed']} of {role} was given before, or is"
          " of other data than the rest; name each seed once, all of the same"
          " data."
        )
      by_seed[document["seed"]] = metrics_of(document)
  return found
