# SPDX-License-Identifier: Apache-2.0
"""The config file of a finished run, as it is now, by the config's name.

A config's name is its file's and its variants: hstu_movielens-no_time is
configs/hstu_movielens.py:no_time. Results outlive config files: where there is
none any more, nothing is known of it, and tables and pages do without.
"""

import functools
import importlib
import json
from typing import Any

from absl import logging

from genrec_jax.core.build import to_plain


def config_argument(name: str) -> str:
  """configs/FILE.py or configs/FILE.py:VARIANTS of a config's name."""
  file, _, variants = name.partition("-")
  return f"configs/{file}.py" + (f":{variants}" if variants else "")


@functools.cache
def config_of(name: str) -> dict[str, Any] | None:
  """The config as JSON reads it back; None where there is no such config."""
  file, _, variants = name.partition("-")
  try:
    module = importlib.import_module(f"configs.{file}")
    config = module.get_config(variants)
  except (AttributeError, ImportError, ValueError) as error:
    # No such file, no config in it, or no such variant any more.
    logging.warning("no config %s: %s", config_argument(name), error)
    return None
  return json.loads(json.dumps(to_plain(config)))


def title_of(name: str) -> str:
  """The published name of a config's model, or the config's where it has none.

  Results that say no title, those of format 1, are called by it.
  """
  return (config_of(name) or {}).get("title") or name
