# SPDX-License-Identifier: Apache-2.0
"""From a raw event log to a prepared data set."""
