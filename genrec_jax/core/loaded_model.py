# SPDX-License-Identifier: Apache-2.0
"""A model and its parameters, to be asked inside of somebody's program.

    ask = loaded.ask_of(params); ask(batch, method="query")

`params` are arguments of such a program and no constants in it.
"""

from collections.abc import Callable
import contextlib
import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class LoadedModel:
  """See the module docstring.

  Attributes:
    system: the model.
    params: its parameters, on devices.
    ask_of: parameters -> ask(*arguments, method=NAME).
    in_force: the context in which programs are traced and called.
  """

  system: Any
  params: Any
  ask_of: Callable[[Any], Callable[..., Any]]
  in_force: Callable[[], Any] = contextlib.nullcontext
