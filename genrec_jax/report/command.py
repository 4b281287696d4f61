# SPDX-License-Identifier: Apache-2.0
"""How a finished run is made again: its config file, form and changed values.

What the command line changed is what differs between the values that the run
stored and those that the file gives today (report/config_files.py); with the
commit, which stands beside it, that is the whole command. `seed` is left out (a
row has several), so are `title`, which changes nothing, and `prepared` (its
data are those that the config would prepare), and of a path only the file's
name is shown.
"""

from collections.abc import Mapping
import shlex
from typing import Any

from genrec_jax.core.dotted import flat
from genrec_jax.report.config_files import config_argument, config_of
from genrec_jax.report.runs import Finished

_NOT_SHOWN = ("name", "title", "seed", "prepared")


def changes(run: Finished) -> list[str] | None:
  """The `--config.KEY=VALUE` arguments; None where there is no such config."""
  config = config_of(run.config)
  if config is None:
    return None
  defaults = flat(config)
  values = flat(run.config_values)
  if "evals" not in run.config_values:
    values = _of_before(values, defaults)
  return [
    shlex.quote(f"--config.{key}={_text(key, value)}")
    for key, value in values.items()
    if key not in _NOT_SHOWN and defaults.get(key, _NOT_SHOWN) != value
  ]


def _of_before(
  values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
  """What a config of format 1 says in terms of today's.

  It named modules by their paths, which say nothing of what was chosen, and had
  what is measured in another section.
  """
  return {
    key: defaults[key]
    if _nameless(value) == _nameless(defaults[key])
    else value
    for key, value in values.items()
    if key in defaults and not key.endswith(".name") and key != "train.monitor"
  }


def _nameless(value: Any) -> Any:
  """A value without the names of classes in it."""
  if isinstance(value, Mapping):
    return {k: _nameless(v) for k, v in value.items() if k != "name"}
  if isinstance(value, list):
    return [_nameless(v) for v in value]
  return value


def command(run: Finished) -> str:
  """The arguments of genrec train, without --workdir and the seed."""
  changed = changes(run)
  argument = f"--config={config_argument(run.config)}"
  if changed is None:
    return f"{argument} (this config file is not here: values unknown)"
  return " ".join([argument, *changed])


def _text(key: str, value: Any) -> str:
  if isinstance(value, str) and (key.endswith("path") or value[:1] == "/"):
    return value.rsplit("/", 1)[-1]
  if isinstance(value, list):
    return str(tuple(value))
  return str(value)
