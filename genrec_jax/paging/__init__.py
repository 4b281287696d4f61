# SPDX-License-Identifier: Apache-2.0
"""Which page of a memory of pages holds what, and for whom; NumPy alone."""

from genrec_jax.paging.chain import Chain
from genrec_jax.paging.hit_rate import lru_hit_rate, lru_hits
from genrec_jax.paging.page_tables import Lease, Page, PageTables

__all__ = ["Chain", "Lease", "Page", "PageTables", "lru_hit_rate", "lru_hits"]
