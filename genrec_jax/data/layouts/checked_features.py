# SPDX-License-Identifier: Apache-2.0
"""Whether a system is built for the features of a layout."""

from typing import Any

from genrec_jax.core import seams
from genrec_jax.data.layouts.vector_columns import check_reads


def check_features(layout: Any, system: seams.Model) -> None:
  """Compares a system of feature rows with its layout.

  Args:
    layout: a PointwiseRows, or what adds to it.
    system: a RowModel, which may offer more of core/seams.py.

  Raises:
    ValueError: the system has tables, places or histories of other features,
      reads what the layout does not give, or is given what it does not read.
  """
  seams.require(system, seams.RowModel, "config.system")
  check_reads(system, layout.vectors)
  _check_content(layout, system)
  names = seams.members(seams.RowModel)
  if seams.offers(system, seams.TowerModel):
    names += ("item_columns",)
    for feature in layout.features:
      if feature.side == "affinity":
        raise ValueError(
          f"{feature.of} is of user and item together, which config.system"
          " reads apart: leave it out of config.pipeline.layout.features."
        )
  if seams.offers(system, seams.AudienceModel):
    names += ("audience_columns",)
  if seams.offers(system, seams.LongHistoryModel):
    names += ("request_columns", "history_group", "history_seconds")
    if layout.history_length > system.max_history:
      raise ValueError(
        f"config.pipeline.layout.history_length={layout.history_length} is more"
        f" than the {system.max_history} events of a history that"
        " config.system has positions for: set num_positions there."
      )
  elif layout.one_request:
    raise ValueError(
      "config.pipeline.layout.one_request=True gives a history to each row,"
      f" and config.system ({type(system).__name__}) reads one of each"
      " position: set it to False, or take a system that reads histories"
      " apart (models.LongHistoryRanker)."
    )
  for name in names:
    theirs, own = getattr(system, name), getattr(layout, name)
    if theirs != own:
      raise ValueError(
        f"config.system.{name}={theirs}, and the features of"
        f" config.pipeline.layout make it {own}: set it to that."
      )
  if seams.offers(system, seams.NamedVectorModel):
    theirs = system.vector_names
    if theirs is not None and theirs != layout.vector_names:
      raise ValueError(
        f"config.system.interactions names the features {theirs}, and those"
        f" of config.pipeline.layout are {layout.vector_names}: set them to"
        " these."
      )


def _check_content(layout: Any, system: seams.Model) -> None:
  """Content and queries are given where they are read, and nowhere else."""
  reads = seams.offers(system, seams.AskedModel)
  for name in ("query", "item_content"):
    given = getattr(layout, name) is not None
    if reads and not given:
      raise ValueError(
        f"config.system ({type(system).__name__}) encodes items and what"
        " requests look for, and the layout does not give them: set"
        f" config.pipeline.layout.{name}."
      )
    if given and not reads:
      raise ValueError(
        f"config.pipeline.layout.{name} is given, and config.system"
        f" ({type(system).__name__}) does not read it: leave it out, or take a"
        " system that encodes what items are (models.ContentRanker)."
      )
