# SPDX-License-Identifier: Apache-2.0
"""Features of items, users and moments, as rows of tables."""
