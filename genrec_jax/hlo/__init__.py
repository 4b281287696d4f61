# SPDX-License-Identifier: Apache-2.0
"""Reading compiled XLA programs, and what chips can do at most."""
