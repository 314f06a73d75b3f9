"""The nouns of envcheck as frozen values, and how they are written down.

Pure: bytes and values in, bytes and values out. No files, no network, no clock.
"""
