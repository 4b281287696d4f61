# SPDX-License-Identifier: Apache-2.0
"""Reading compiled XLA programs: text, costs, collectives."""
