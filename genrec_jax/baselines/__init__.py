# SPDX-License-Identifier: Apache-2.0
"""What every model is measured against."""
