# SPDX-License-Identifier: Apache-2.0
"""A bundle that was opened: checked, loaded, and equal to the run it is of.

    bundle = Bundle.open("bundle")             or rows=16
    ids, scores, aux = bundle.search(requests, 10, None)
    logits = bundle.score(impressions)

    BUNDLE/
      manifest.json            what it is; SHA-256 of every file
      config.json              of the run
      parameters.safetensors   by path
      items.safetensors        codes by item and their trie; of generators
      data/ features.*         items, and what makes arrays (encoders.py)
      golden.safetensors       requests with answers (golden.py)
      programs/                StableHLO (programs.py)

Nothing of it is Python or pickled, and no model is built: the programs hold all
that was one. Opening reads every checksum, compiles, asks the golden requests,
and refuses a bundle whose answers are not the run's.
"""

from collections.abc import Mapping
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

import jax
from jax import export
from jaxtyping import Float
import numpy as np

from genrec_jax.core import finite
from genrec_jax.core.seams import Layout
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.model_search import padded
from genrec_jax.serving.export import encoders, tensors
from genrec_jax.serving.export.golden import Golden
from genrec_jax.serving.export.manifest import (
  CONFIG,
  GOLDEN,
  ITEMS,
  PARAMETERS,
  read_manifest,
)
from genrec_jax.serving.export.parity import (
  TOLERANCE,
  difference,
  lists_differ,
)
from genrec_jax.serving.export.programs import Programs


@dataclasses.dataclass(frozen=True)
class Bundle:
  """See the module docstring.

  Attributes:
    directory: where it lies.
    manifest: what it says of itself.
    config: of the run.
    programs: for one number of requests, or for any.
    parameters: by path, on the device.
    items: what `decode` searches, by path, on the device.
    golden: requests with answers: "lists", "logits".
    layout: makes arrays of requests; None in a bundle without encoders.
    catalog: the items; None likewise.
  """

  directory: pathlib.Path
  manifest: Mapping[str, Any]
  config: Mapping[str, Any]
  programs: Programs
  parameters: Mapping[str, jax.Array]
  items: Mapping[str, jax.Array]
  golden: Mapping[str, Golden]
  layout: Layout | None = None
  catalog: Catalog | None = None

  @classmethod
  def open(
    cls,
    directory: str | os.PathLike,
    *,
    rows: int | None = None,
    tolerance: float | None = None,
  ) -> "Bundle":
    """Reads and checks a bundle.

    Args:
      directory: where it lies.
      rows: requests at a time, for which there must be programs; None = the
        programs for any number.
      tolerance: by how much answers may differ from the run's, see parity.py;
        None = the platform's.

    Raises:
      ValueError: no bundle, damaged, of another version or for other platforms,
        or one that does not answer as the run did.
      ImportError: flatbuffers is not installed.
    """
    directory = pathlib.Path(directory)
    manifest = read_manifest(directory)
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    programs = Programs.load(directory, manifest, rows)
    items, codes = {}, None
    if ITEMS in manifest["files"]:
      known = tensors.load(directory / ITEMS)
      items, codes = tensors.below(known, "search"), known["codes_V1M"]
    layout = catalog = None
    if manifest["encoders"]:
      layout, catalog = encoders.load_layout(directory, config, codes)
      if catalog.num_items != manifest["num_items"]:
        raise ValueError(
          f"{directory} says that it has {manifest['num_items']:,} items, and"
          f" its catalogue has {catalog.num_items:,}: export the run again."
        )
    kept = tensors.load(directory / GOLDEN)
    found = cls(
      directory=directory,
      manifest=manifest,
      config=config,
      programs=programs,
      parameters=jax.device_put(tensors.load(directory / PARAMETERS)),
      items=jax.device_put(items),
      golden={
        kind: Golden.from_arrays(tensors.below(kept, kind))
        for kind in ("lists", "logits")
        if any(name.startswith(f"{kind}/") for name in kept)
      },
      layout=layout,
      catalog=catalog,
    )
    if tolerance is None:
      tolerance = TOLERANCE[export.default_export_platform()]
    found.check(tolerance)
    return found

  def search(
    self, requests: Requests, k: int, allowed: ItemMask | None = None
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Ids (B, k) and scores (B, k), and {"codes"} of a generator: a Search.

    Places behind the manifest's num_results hold id 0 and score -inf.

    Raises:
      ValueError: a bundle without encoders, or whose run finds nothing; more
        requests than its programs take; scores that are not finite.
    """
    if "lists" not in self.golden:
      raise ValueError(f"{self.directory} orders given items and finds none.")
    count, rows = len(requests), self.programs.rows
    if allowed is None:
      num_items = self.manifest["num_items"]
      allowed = ItemMask.all_but([np.zeros(0, np.int32)] * count, num_items)
    if rows is not None:
      requests, allowed = padded(requests, allowed, rows)
    batch = self._encoders().request_batch(requests)
    found = self.lists(batch, allowed.words_BW)
    finite.check_scores(found["scores_BK"])
    # What stands in a place without an item; -1 of all else that is said.
    nothing = {"ids_BK": 0, "scores_BK": -np.inf, "codes_BKM": 0}
    missing = max(0, k - found["ids_BK"].shape[1])
    places = {
      name.partition("_B")[0]: np.pad(
        x[:count, :k],
        [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2),
        constant_values=nothing.get(name, -1),
      )
      for name, x in found.items()
    }
    return places.pop("ids"), places.pop("scores"), places

  def score(self, impressions: Impressions) -> Float[np.ndarray, "B N T"]:
    """Logits of the candidates of some requests.

    Raises:
      ValueError: a bundle without encoders, or whose run says nothing of given
        items; more requests than its programs take, or another number of
        candidates than the manifest's num_candidates; logits that are not
        finite.
    """
    if "logits" not in self.golden:
      raise ValueError(
        f"{self.directory} finds items, and says of none what a user would do."
      )
    count, rows = len(impressions), self.programs.rows
    wanted = self.manifest["num_candidates"]
    if impressions.candidates.shape[1] != wanted:
      raise ValueError(
        f"{impressions.candidates.shape[1]} candidates: the programs of"
        f" {self.directory} take {wanted} (0 fills a row up)."
      )
    if rows is not None:
      impressions = impressions.padded(rows)
    logits = self.logits(self._encoders().impression_batch(impressions))
    finite.check_scores(np.abs(logits[:count]))
    return logits[:count]

  def lists(
    self, batch: Mapping[str, Any], allowed_BW: Any
  ) -> dict[str, np.ndarray]:
    """What is found by arrays that a layout made; see functions.py."""
    if "decode" in self.programs.functions:
      items = dict(self.items)
      if "items" in self.programs.functions:
        items["vectors_RD"] = self._vectors
      arguments = (self.parameters, batch, items, allowed_BW)
      return dict(jax.device_get(self.programs("decode", *arguments)))
    query_BD = self.programs("query", self.parameters, batch)
    found = self.programs("retrieve", query_BD, self._vectors, allowed_BW)
    # A top-k takes NaN for -inf, and nobody would know.
    finite.check_vectors(query_BD, "the queries")
    return dict(jax.device_get(found))

  def logits(self, batch: Mapping[str, Any]) -> Float[np.ndarray, "B N T"]:
    """Logits by arrays that a layout made."""
    return np.asarray(self.programs("score", self.parameters, batch))

  def check(self, tolerance: float) -> None:
    """Asks the golden requests.

    Raises:
      ValueError: the layout makes other arrays of them, or the programs other
        answers.
    """
    for kind, golden in self.golden.items():
      if self.layout is not None:
        if kind == "lists":
          made = self.layout.request_batch(golden.asked)
        else:
          made = self.layout.impression_batch(golden.asked)
        self._check_batch(kind, made, golden.batch)
      found = self._in_batches(kind, golden)
      if kind == "lists":
        wrong = lists_differ(found, golden.answer, tolerance)
      else:
        apart = difference(found["logits_BNT"], golden.answer["logits_BNT"])
        wrong = "" if apart <= tolerance else f"logits differ by {apart:.3g}"
      if wrong:
        raise ValueError(
          f"{self.directory} does not answer as the run did that it was"
          f" exported from ({len(golden)} golden requests, {kind}): {wrong}. It"
          " is not used: export the run again, or where this platform rounds"
          " more coarsely give a tolerance."
        )

  def _in_batches(self, kind: str, golden: Golden) -> dict[str, np.ndarray]:
    """What the programs answer to golden requests, however many they take."""
    size = self.programs.rows or len(golden)
    parts = []
    for start in range(0, len(golden), size):
      take = np.minimum(np.arange(start, start + size), len(golden) - 1)
      batch = {name: x[take] for name, x in golden.batch.items()}
      if kind == "lists":
        parts.append(self.lists(batch, golden.allowed_BW[take]))
      else:
        parts.append({"logits_BNT": self.logits(batch)})
    return {
      name: np.concatenate([part[name] for part in parts])[: len(golden)]
      for name in golden.answer
    }

  def _check_batch(self, kind, made, kept) -> None:
    for name in sorted({*made, *kept}):
      a, b = made.get(name), kept.get(name)
      if a is None or b is None or not np.array_equal(a, b, equal_nan=True):
        raise ValueError(
          f"the layout of {self.directory} makes other arrays of the golden"
          f" requests ({kind}, {name}) than that of the run did: this version"
          " of genrec_jax lays histories out otherwise. Export the run again."
        )

  def _encoders(self) -> Layout:
    if self.layout is None:
      raise ValueError(
        f"{self.directory} was exported without encoders: make the arrays, and"
        " ask `lists` or `logits`."
      )
    return self.layout

  @functools.cached_property
  def _vectors(self) -> jax.Array:
    """Item vectors, made once."""
    vectors_RD = self.programs("items", self.parameters)
    finite.check_vectors(vectors_RD, "the item vectors")
    return vectors_RD
