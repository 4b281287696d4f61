# SPDX-License-Identifier: Apache-2.0
"""Pure functions on arrays: attention, biases, norms, scores, top-k."""
