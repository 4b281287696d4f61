# SPDX-License-Identifier: Apache-2.0
"""The report on a table of item tokens, before anything is trained with it.

    report = make_quality(config, catalog, workdir)

writes quality.html and quality.json into the table's folder; what is measured
is in semantic_ids/quality.py, of the table's codes and, as "before_rule", of
the tokenizer's own, before a rule told equal ones apart.
"""

from collections.abc import Mapping
import json
import os
from typing import Any

from absl import logging
import numpy as np

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core import atomic, sealed, seams
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.report.semantic_ids import page as token_page
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quality import (
  catalog_categories,
  prefix_ids,
  quality,
)
from genrec_jax.semantic_ids.quantizers.base import KnowsFit
from genrec_jax.semantic_ids.stages import directory_of, token_vectors


def make_quality(
  config: Mapping[str, Any], catalog: Catalog, workdir: str | os.PathLike
) -> dict[str, Any]:
  """The report on a table, beside it: quality.json and quality.html.

  Of the live items of the catalogue; made again where the table has changed.
  """
  tokens = ItemTokens.load(directory_of(config, "tokens", workdir))
  vectors = token_vectors(config, catalog, workdir)
  stamp = {"version": tokens.version, "revision": tokens.revision}
  name = config.get("name", "codes")
  stamp |= {"vectors": vectors.version, "config": name}
  stamp["name"] = config.get("title") or name
  path = tokens.directory / "quality.json"
  page = path.with_suffix(".html")
  if path.is_file() and page.is_file():
    found = sealed.read_sealed(path, "Delete it: it is made again.")
    if {key: found.get(key) for key in stamp} == stamp:
      logging.info("%s is up to date", path)
      return found
  live = np.flatnonzero(tokens.live_for(catalog.ids))
  ids = [catalog.ids[i] for i in live]
  report = stamp | _quality(tokens, vectors, catalog, ids)
  titles = [catalog.titles[i] for i in live]
  html = token_page.render(
    report,
    _groups(tokens.for_catalog(ids), titles),
    _facts(name, tokens, vectors),
  )
  atomic.write_text(page, html)
  atomic.write_text(path, json.dumps(sealed.seal(report), indent=1) + "\n")
  return report


def _quality(
  tokens: ItemTokens, vectors: ItemVectors, catalog: Catalog, ids: list[str]
) -> dict[str, Any]:
  """Of the table's codes, and "before_rule" of the tokenizer's own."""
  codes_NM, vectors_ND = tokens.for_catalog(ids), vectors.for_catalog(ids)
  fitted = tokens.tokenizer()
  categories = catalog_categories(catalog, ids)
  # A level that only tells items apart stands for no vector.
  depth = len(fitted.level_sizes)
  report = quality(
    codes_NM,
    tokens.level_sizes,
    vectors_ND=vectors_ND,
    decoded_ND=fitted.decode(codes_NM[:, :depth]),
    categories=categories,
  )
  nearest_NM = codes_NM[:, :depth]
  if not seams.offers(fitted, KnowsFit):
    nearest_NM = fitted.encode(vectors_ND)
  report["before_rule"] = quality(
    nearest_NM,
    fitted.level_sizes,
    vectors_ND=vectors_ND,
    decoded_ND=fitted.decode(nearest_NM),
    categories=categories,
  )
  return report


def _groups(codes_NM: np.ndarray, titles: list[str]) -> list[token_page.Group]:
  """The six largest groups of two leading codes (or one)."""
  prefix_N = prefix_ids(codes_NM)[:, : min(2, codes_NM.shape[1])][:, -1]
  count_G = np.bincount(prefix_N)
  groups = []
  for group in np.argsort(-count_G, kind="stable")[:6]:
    rows = np.flatnonzero(prefix_N == group)
    groups.append(
      token_page.Group(
        codes_NM[rows[0], :2].tolist(),
        len(rows),
        [titles[row] for row in rows[:4]],
      )
    )
  return groups


def _facts(
  config: str, tokens: ItemTokens, vectors: ItemVectors
) -> dict[str, str]:
  counts = vectors.manifest["counts"]
  return {
    "config": config,
    "tokens": f"version {tokens.version}, revision {tokens.revision}",
    "vectors": f"version {vectors.version}, width {vectors.manifest['width']}",
    "encoder": json.dumps(vectors.manifest["encoder"]),
    "template": vectors.manifest["template"],
    "texts": (
      f"{counts['distinct']:,} distinct, {counts['sharing']:,} items share"
      f" theirs (at most {counts['largest_group']:,}),"
      f" {counts['without_text']:,} items have none"
    ),
    "tokenizer": json.dumps(tokens.manifest["tokenizer"]),
    "uniqueness": json.dumps(tokens.manifest["unique"]),
    "live items": f"{int(tokens.live.sum()):,} of {len(tokens.codes) - 1:,}",
  }
