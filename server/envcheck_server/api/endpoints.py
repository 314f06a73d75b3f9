"""Every route of the collector."""

from __future__ import annotations

from envcheck_server.api import devices, health, inventory, releases

ENDPOINTS = (*health.ENDPOINTS, *devices.ENDPOINTS, *inventory.ENDPOINTS, *releases.ENDPOINTS)
