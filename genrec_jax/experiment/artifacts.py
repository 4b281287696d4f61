# SPDX-License-Identifier: Apache-2.0
"""What a run reads from disk beside its histories, by name.

    vectors   item vectors   WORKDIR/vectors, or config.content.directory
    tokens    item tokens    WORKDIR/tokens, or config.tokens.directory
    text_tokens              WORKDIR/text_tokens, or that of
                             config.text_tokens.directory
    lists     lists of other retrievers
                             WORKDIR/lists, or config.lists.directory
    pairs     preference pairs
                             WORKDIR/pairs, or config.rollout.directory
    user_vectors             WORKDIR/user_vectors, or that of
                             config.user_vectors.directory

Vectors that another run has trained (config.collaborative, such as
experiment.TrainedItems; an empty workdir is the run that config.before names)
are read from that run, and have a version too.

`KINDS` registers the artifacts: a further one is one entry there. Opened when a
layout or a retriever first asks. The versions of what was opened are kept with
every checkpoint: codes of another version mean other items, so a model refuses
them.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import pathlib
from typing import Any, Protocol, runtime_checkable

from absl import logging
from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.text_tokens import TextTokens
from genrec_jax.core import artifact, seams
from genrec_jax.core.build import build, build_options
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.preference_pairs import PreferencePairs
from genrec_jax.data.dataset.retriever_lists import RetrieverLists
from genrec_jax.data.dataset.user_vectors import UserVectors
from genrec_jax.experiment.made_lists import ListOptions, make_lists
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.joined_vectors import OtherVectors
from genrec_jax.semantic_ids.stages import check_same_data, of_run_before


@runtime_checkable
class Artifact(Protocol):
  """Something on disk that a model is trained with.

  Attributes:
    version: names the contents; equal contents have equal versions.
  """

  version: str


@dataclasses.dataclass(frozen=True)
class ArtifactKind:
  """A kind of artifact.

  Attributes:
    section: of the config, whose `directory` says where it lies.
    folder: of the workdir, where the section does not.
    load: reads it; ValueError where it is not there, which says how to make it.
  """

  section: str
  folder: str
  load: Callable[[pathlib.Path], Artifact]


KINDS: Mapping[str, ArtifactKind] = {
  "vectors": ArtifactKind("content", "vectors", ItemVectors.load),
  "tokens": ArtifactKind("tokens", "tokens", ItemTokens.load),
  "text_tokens": ArtifactKind("text_tokens", "text_tokens", TextTokens.load),
  "lists": ArtifactKind("lists", "lists", RetrieverLists.load),
  "pairs": ArtifactKind("rollout", "pairs", PreferencePairs.load),
  "user_vectors": ArtifactKind(
    "user_vectors", "user_vectors", UserVectors.load
  ),
}

# What models that have no table of items read of them.
_CONTENTS = ("vectors", "text_tokens")


@dataclasses.dataclass(frozen=True)
class Artifacts:
  """The artifacts of a data set, opened at first use.

  Attributes:
    histories: the prepared data set.
    directories: kind -> folder.
    others: what config.collaborative names, see OtherVectors; None = nothing.
    listed: the retrievers of config.lists, and how they are asked.
  """

  histories: Histories
  directories: Mapping[str, pathlib.Path]
  others: OtherVectors | None = None
  listed: ListOptions = ListOptions()
  _opened: dict[str, Artifact] = dataclasses.field(
    default_factory=dict, compare=False, repr=False
  )
  _versions: dict[str, str] = dataclasses.field(
    default_factory=dict, compare=False, repr=False
  )

  @classmethod
  def of(
    cls, config: Mapping[str, Any], workdir: pathlib.Path, histories: Histories
  ) -> "Artifacts":
    """The artifacts that a config names."""
    directories = {
      name: pathlib.Path(
        config[kind.section].get("directory") or workdir / kind.folder
      )
      for name, kind in KINDS.items()
    }
    others = None
    if config.get("collaborative"):
      node = of_run_before(
        config["collaborative"], "collaborative", config, workdir
      )
      others = build(node, where="config.collaborative")
      seams.require(others, OtherVectors, "config.collaborative")
    listed = {k: v for k, v in config["lists"].items() if k != "directory"}
    if listed.get("retrievers"):
      listed["retrievers"] = {
        name: of_run_before(node, f"lists.retrievers.{name}", config, workdir)
        for name, node in listed["retrievers"].items()
      }
    listed = build_options(ListOptions, listed, where="config.lists")
    return cls(histories, directories, others, listed)

  def open(self, name: str) -> Any:
    """The artifact of a kind.

    Raises:
      ValueError: no such kind, or none there (says how to make it).
    """
    if name not in KINDS:
      raise ValueError(
        f"there is no artifact {name!r}.{choices_hint(name, KINDS)}"
      )
    if name not in self._opened:
      found = KINDS[name].load(self.directories[name])
      seams.require(found, Artifact, f"the artifact {name!r}")
      self._opened[name] = found
    return self._opened[name]

  @functools.cached_property
  def catalog(self) -> Catalog:
    """The items that indices mean."""
    return Catalog(self.histories.directory)

  @property
  def item_vectors(self) -> ItemVectors:
    """The item vectors; ValueError where there are none."""
    return self.open("vectors")

  @property
  def item_tokens(self) -> ItemTokens:
    """The item tokens; ValueError likewise."""
    return self.open("tokens")

  def vectors(self) -> Float[np.ndarray, "V1 D"]:
    """Vectors by item index; row 0 is zeros."""
    return self._vectors

  def text_tokens(
    self,
  ) -> tuple[Int[np.ndarray, "V1 T"], Float[np.ndarray, "W D"]]:
    """Tokens of texts by item index, and vectors by token."""
    found = self.open("text_tokens")
    return found.for_catalog(self.catalog.ids), found.words

  def codes(self) -> Int[np.ndarray, "V1 M"]:
    """Codes by item index; row 0 is zeros."""
    return self._codes

  def collaborative(
    self,
  ) -> tuple[Float[np.ndarray, "V1 E"], Bool[np.ndarray, "V1"]]:
    """Vectors of config.collaborative by item index, and which are known.

    Raises:
      ValueError: the config has no such section.
    """
    if self.others is None:
      raise ValueError(
        "the layout reads collaborative vectors, and the config has no section"
        " 'collaborative', which names one."
      )
    vectors, known = self._collaborative
    pad = ((1, 0), (0, 0))
    return np.pad(vectors, pad), np.pad(known, pad[0])

  def retriever_lists(self) -> RetrieverLists:
    """What other retrievers returned at each request.

    Raises:
      ValueError: none there, or of another data set.
    """
    return self._retriever_lists

  def user_vectors(self) -> UserVectors:
    """What a trained model says of users.

    Raises:
      ValueError: none there, or of another data set.
    """
    return self._user_vectors

  def make_lists(self) -> None:
    """Makes the lists of config.lists.retrievers, where they are not there.

    Raises:
      ValueError: they cannot be made, or there are others in their place.
    """
    if not self.listed.retrievers:
      return
    directory = self.directories["lists"]
    if not directory.exists():
      options = {**vars(self.listed)}
      retrievers = options.pop("retrievers")
      make_lists(self.histories, retrievers, directory=directory, **options)
    there = self.retriever_lists().manifest["asked"]
    asked = self.listed.asked
    holds = "lists that were made otherwise"
    artifact.check_asked(directory, there, asked, holds, "lists")

  def live(self) -> Bool[np.ndarray, "V1"]:
    """Whether an item may be recommended; False for row 0."""
    return self.item_tokens.live_for(self.catalog.ids)

  @functools.cached_property
  def _vectors(self):
    return self.item_vectors.for_catalog(self.catalog.ids)

  @functools.cached_property
  def _collaborative(self):
    check_same_data(self.others, self.catalog, "config.collaborative")
    found = self.others.vectors(list(self.catalog.ids[1:]))
    self._versions["collaborative"] = self.others.fingerprint
    return found

  @functools.cached_property
  def _retriever_lists(self):
    found = self.open("lists")
    directory = self.directories["lists"]
    found.check(self.histories.manifest.fingerprint, directory)
    logging.info(
      "lists of %s: version %s, %.1f days old, by %s",
      directory,
      found.version,
      found.age(),
      ", ".join(found.names),
    )
    return found

  @functools.cached_property
  def _user_vectors(self):
    found = self.open("user_vectors")
    directory = self.directories["user_vectors"]
    found.check(self.histories.manifest.fingerprint, directory)
    return found

  @functools.cached_property
  def _codes(self):
    return self.item_tokens.for_catalog(self.catalog.ids)

  @property
  def versions(self) -> dict[str, str]:
    """Versions of what has been opened so far, as `check` reads them.

    Of tokens also the "lineage": the revision of the table and the hash of its
    history; of what the model reads of items also the "..._space".
    """
    found = {name: self._opened[name].version for name in self._opened}
    found |= self._versions
    found |= {
      f"{name}_space": self._opened[name].space
      for name in _CONTENTS
      if name in self._opened
    }
    if "tokens" in found:
      tokens = self.item_tokens
      found["lineage"] = f"{tokens.revision} {tokens.head}"
    return dict(sorted(found.items()))

  def check_spaces(self, versions: Mapping[str, str]) -> None:
    """Raises a ValueError where parameters would read contents of another kind.

    New items may have come: a space names how contents are made, not of what.

    Args:
      versions: of the run that the parameters are taken from.
    """
    for kind in _CONTENTS:
      trained = versions.get(f"{kind}_space")
      if trained is None or not self.directories[kind].exists():
        continue
      now = self.open(kind).space
      if trained != now:
        raise ValueError(
          f"the parameters were trained with {kind} of the space {trained}, and"
          f" those in {self.directories[kind]} are of {now}: made otherwise,"
          " they mean something else. Make them as they were, or train from the"
          " start."
        )

  def check(self, versions: Mapping[str, str]) -> None:
    """Raises a ValueError where a model was trained with other versions.

    A table of tokens may have grown since: codes of a version keep their
    meaning. It must not have grown out of another past.
    """
    now = self.versions
    for kind in KINDS:
      trained = versions.get(kind)
      if trained is None or now.get(kind, trained) == trained:
        continue
      folder = self.directories[kind]
      raise ValueError(
        f"the model was trained with {kind} of version {trained}, and {folder}"
        f" holds version {now[kind]}, which means something else. Bring"
        f" version {trained} back, or train again in another --workdir."
      )
    trained, there = (x.get("collaborative") for x in (versions, now))
    if trained is not None and there is not None and trained != there:
      raise ValueError(
        f"the model was trained with collaborative vectors {trained}, and"
        f" config.collaborative gives {there}: name the run that it was."
      )
    if "lineage" in versions and "lineage" in now:
      revision, _, head = versions["lineage"].partition(" ")
      self.item_tokens.check_extends(int(revision), head)
