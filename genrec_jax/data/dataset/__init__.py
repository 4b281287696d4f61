# SPDX-License-Identifier: Apache-2.0
"""A prepared data set: histories, tables, requests, impressions."""

from genrec_jax.data.dataset.audience import Audience
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.target_lists import Baskets, NextItems
from genrec_jax.data.dataset.user_part import UserPart

__all__ = [
  "Audience",
  "Baskets",
  "Catalog",
  "Feedback",
  "Histories",
  "Impressions",
  "NextItems",
  "Requests",
  "UserPart",
  "Users",
]
