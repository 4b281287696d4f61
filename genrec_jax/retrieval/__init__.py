# SPDX-License-Identifier: Apache-2.0
"""Retrievers behind one seam: search(query, k, allowed) -> ids, scores, aux.

A query is a vector for the indexes (brute_force, scann) and a whole Requests
for rankers that read the history itself (most_popular, item_knn).
"""
