# SPDX-License-Identifier: Apache-2.0
"""Metrics as merged states, their bootstrap intervals, and where they go."""
