# SPDX-License-Identifier: Apache-2.0
"""Who did something when: prepared data, or a table of events.

log = Log.of("runs/a/data")        or "log.parquet"
log.length_U                       events of each user
"""

import dataclasses

from jaxtyping import Int
import numpy as np
import polars as pl


@dataclasses.dataclass(frozen=True)
class Log:
  """Events, each user's in their order.

  Attributes:
    user_E: numbers of users.
    time_E: seconds; None where the log does not say.
  """

  user_E: Int[np.ndarray, "E"]
  time_E: Int[np.ndarray, "E"] | None

  @property
  def length_U(self) -> Int[np.ndarray, "U"]:
    """Events of each user."""
    return np.bincount(self.user_E)

  @classmethod
  def of(cls, path: str) -> "Log":
    """Of prepared data, or of a Parquet file."""
    if path.endswith(".parquet"):
      return cls.of_table(pl.read_parquet(path))
    # It brings JAX, which a table does not need.
    from genrec_jax.data.dataset.histories import Histories

    data = Histories(path)
    records = data.many(range(len(data)))
    count_U = [len(record["item"]) for record in records]
    time_E = None
    if "time" in data.manifest.fields:
      time_E = np.concatenate([record["time"] for record in records])
    return cls(np.repeat(np.arange(len(records)), count_U), time_E)

  @classmethod
  def of_table(cls, table: pl.DataFrame) -> "Log":
    """Of user_id and perhaps timestamp.

    Raises:
      ValueError: there is no column user_id.
    """
    if "user_id" not in table.columns:
      raise ValueError(f"there is no column user_id among {table.columns}.")
    users = table["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
    if "timestamp" not in table.columns:
      return cls(np.sort(users), None)
    times = table["timestamp"].cast(pl.Int64).to_numpy()
    order = np.lexsort((times, users))
    return cls(users[order], times[order])
