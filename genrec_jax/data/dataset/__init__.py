# SPDX-License-Identifier: Apache-2.0
"""A prepared data set: histories, tables, requests, impressions."""
