# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests for tests: an image, a saved boot of it, and machines restored from that."""
