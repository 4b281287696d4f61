# SPDX-License-Identifier: Apache-2.0
"""How a history becomes model input."""
