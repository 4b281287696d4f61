# SPDX-License-Identifier: Apache-2.0
"""What `genrec bench` and scripts/accelerator.py time and count."""
