# SPDX-License-Identifier: Apache-2.0
"""Types that cross the seams, config building, and the device mesh."""
