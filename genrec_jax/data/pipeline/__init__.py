# SPDX-License-Identifier: Apache-2.0
"""Histories to batches."""
