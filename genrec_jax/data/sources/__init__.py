# SPDX-License-Identifier: Apache-2.0
"""Where events come from: public data sets and files."""
