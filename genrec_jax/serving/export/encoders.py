# SPDX-License-Identifier: Apache-2.0
"""What makes arrays of a history: a layout, bound without the histories that it
was fitted on.

    recorded = record(run)             what binding reads, apart from histories
    recorded.save("bundle")
    layout = load_layout("bundle", config, codes_V1M)

In a bundle lie

    data/manifest.json    of the data set: fields, epoch, actions, fingerprint
    data/catalog.parquet  items: ids, titles, attributes
    data/users.parquet    users, where the layout reads their attributes
    features.json         encoders as they were fitted
    features.safetensors  rows of items and users that they gave

A layout is bound to these as it is bound to a run's artifacts. One that reads
all histories for anything but the features of data/features/ cannot be kept.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
import shutil
from typing import Any, NoReturn

import numpy as np

from genrec_jax.core.build import build_options
from genrec_jax.core.seams import Layout
from genrec_jax.data import schema, splits
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.features.features import (
  Feature,
  FittedFeatures,
  fit_features,
)
from genrec_jax.data.features.moments import Clock
from genrec_jax.data.features.stored_features import StoredFeatures, key_of
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.serving.export import tensors

DATA = "data"
_VALUES, _ARRAYS = "features.json", "features.safetensors"
_TABLES = ("manifest.json", "catalog.parquet")
_USERS = "users.parquet"


class TablesAlone:
  """A data set without its histories: a HistorySource that has no record.

  Attributes:
    manifest: of the data set.
    split: likewise.
    reads_users: whether the folder was asked for, where the users' table lies.
  """

  def __init__(
    self, directory: pathlib.Path, features: Mapping[str, StoredFeatures]
  ):
    """Opens a folder.

    Args:
      directory: with the tables.
      features: that were fitted, by key.
    """
    self.manifest = schema.Manifest.load(directory)
    self.split = splits.load(self.manifest.split)
    self.reads_users = False
    self._directory, self._features = directory, features

  @property
  def directory(self) -> pathlib.Path:
    """The folder."""
    self.reads_users = True
    return self._directory

  def __len__(self) -> int:
    return self.manifest.num_users

  def __getitem__(self, index: int) -> NoReturn:
    raise ValueError(
      f"a bundle holds no histories, and record {index} was asked for:"
      " config.pipeline.layout learns from all of them. Export the run without"
      " encoders (--noencoders): whoever asks the bundle makes the arrays."
    )

  def fitted_features(
    self,
    features: tuple[Feature, ...],
    feedback: BoundFeedback,
    clock: Clock,
  ) -> FittedFeatures:
    """See KnowsFeatures."""
    key = key_of(features, feedback, clock)
    if key not in self._features:
      raise ValueError(
        f"the bundle has no encoders of {[f.of for f in features]}: its"
        " config.json is not what it was exported with."
      )
    catalog = Catalog(self._directory)
    return self._features[key].fitted(features, feedback, catalog, clock)


class Recorder(TablesAlone):
  """The same of a run, which keeps what is fitted.

  Attributes:
    stored: what was, by key.
    of_users: whether any of it is of users.
  """

  def __init__(self, run: Run):
    """Takes what the run has."""
    super().__init__(run.histories.directory, {})
    self._run = run
    self.stored: dict[str, StoredFeatures] = {}
    self.of_users = False

  def fitted_features(
    self,
    features: tuple[Feature, ...],
    feedback: BoundFeedback,
    clock: Clock,
  ) -> FittedFeatures:
    """See KnowsFeatures: fits them on the run's histories."""
    histories = self._run.histories
    users = Users(histories.directory)
    fitted = fit_features(
      features, feedback, histories, self._run.catalog, users, clock
    )
    key = key_of(features, feedback, clock)
    self.stored[key] = StoredFeatures.of(fitted, features, histories)
    self.of_users |= any(f.side == "user" for f in features)
    return fitted


@dataclasses.dataclass(frozen=True)
class BundledArtifacts:
  """What a layout may read of a bundle: a LayoutArtifacts.

  Attributes:
    histories: the tables.
    directories: empty; artifacts are no folders of their own here.
    catalog: of the data set.
    codes_V1M: codes by item index; None where the run has none.
  """

  histories: TablesAlone
  catalog: Catalog
  codes_V1M: np.ndarray | None
  directories: Mapping[str, pathlib.Path] = dataclasses.field(
    default_factory=dict
  )

  def codes(self) -> np.ndarray:
    """Codes by item index."""
    return self._kept(self.codes_V1M, "codes of items")

  def vectors(self) -> NoReturn:
    """Not kept: they are in the parameters."""
    self._kept(None, "vectors of items")

  def collaborative(self) -> NoReturn:
    """Not kept: training reads them."""
    self._kept(None, "collaborative vectors")

  def text_tokens(self) -> NoReturn:
    """Not kept: they are in the parameters."""
    self._kept(None, "words of items")

  def retriever_lists(self) -> NoReturn:
    """Not kept: training reads them."""
    self._kept(None, "lists of other retrievers")

  def user_vectors(self) -> NoReturn:
    """Not kept: who they are of is told by no bundle."""
    self._kept(None, "vectors of users")

  def _kept(self, value, what):
    if value is None:
      raise ValueError(
        f"config.pipeline.layout reads {what}, and a bundle does not hold them."
      )
    return value


@dataclasses.dataclass(frozen=True)
class Recorded:
  """What a layout read when it was bound.

  Attributes:
    layout: bound.
    directory: of the run's prepared data.
    features: fitted ones by key.
    users: whether the table of users is needed.
  """

  layout: Layout
  directory: pathlib.Path
  features: Mapping[str, StoredFeatures]
  users: bool

  def save(self, bundle: pathlib.Path) -> None:
    """Writes it into a bundle."""
    (bundle / DATA).mkdir()
    for name in (*_TABLES, *((_USERS,) if self.users else ())):
      shutil.copyfile(self.directory / name, bundle / DATA / name)
    values = {key: found.values for key, found in self.features.items()}
    text = json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True)
    (bundle / _VALUES).write_text(text + "\n", encoding="utf-8")
    arrays = {}
    for key, found in self.features.items():
      arrays |= tensors.under(found.arrays, key)
    tensors.save(bundle / _ARRAYS, arrays)


def record(run: Run, codes_V1M: np.ndarray | None) -> Recorded:
  """Binds the run's layout anew, and keeps what it reads.

  Args:
    run: whose data are there.
    codes_V1M: of its items; None where it has none.

  Raises:
    ValueError: the layout reads more than a bundle can keep.
  """
  histories = Recorder(run)
  artifacts = BundledArtifacts(histories, run.catalog, codes_V1M)
  layout = _unbound(run.config).bind(artifacts)
  users = histories.reads_users or histories.of_users
  directory = pathlib.Path(run.histories.directory)
  return Recorded(layout, directory, histories.stored, users)


def load_layout(
  bundle: pathlib.Path,
  config: Mapping[str, Any],
  codes_V1M: np.ndarray | None,
) -> tuple[Layout, Catalog]:
  """The layout of a bundle and its items.

  Args:
    bundle: its folder, checked.
    config: of the run.
    codes_V1M: of its items; None where it has none.

  Raises:
    ValueError: they do not belong together.
  """
  values = json.loads((bundle / _VALUES).read_text(encoding="utf-8"))
  arrays = tensors.load(bundle / _ARRAYS)
  features = {
    key: StoredFeatures(found, tensors.below(arrays, key))
    for key, found in values.items()
  }
  catalog = Catalog(bundle / DATA)
  histories = TablesAlone(bundle / DATA, features)
  artifacts = BundledArtifacts(histories, catalog, codes_V1M)
  return _unbound(config).bind(artifacts), catalog


def _unbound(config: Mapping[str, Any]) -> Layout:
  return build_options(
    PipelineOptions, config["pipeline"], where="config.pipeline"
  ).layout
