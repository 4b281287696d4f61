# SPDX-License-Identifier: Apache-2.0
"""Ids out of files."""

import pytest

from genrec_jax.cli import given


def test_a_mark_of_the_encoding_is_no_part_of_an_id(tmp_path):
  path = tmp_path / "sold_out.txt"
  path.write_bytes("sku-71\r\n\n caf\u00e9 \n".encode("utf-8-sig"))
  assert given.ids("deny", [f"@{path}"]) == ["sku-71", "caf\u00e9"]
  path.write_bytes("sku-71\n".encode("utf-16"))
  with pytest.raises(ValueError, match="--deny=@.*sold_out.txt.*not UTF-8"):
    given.ids("deny", [f"@{path}"])
