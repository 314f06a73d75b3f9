"""Every route of the collector."""

from __future__ import annotations

from envcheck_server.api import devices, health, releases

ENDPOINTS = (*health.ENDPOINTS, *devices.ENDPOINTS, *releases.ENDPOINTS)
