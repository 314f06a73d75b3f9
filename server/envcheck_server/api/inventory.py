"""The inventory of expected devices, for whoever keeps one elsewhere."""

from __future__ import annotations

from litestar.response.base import ASGIResponse

from envcheck.contract.document import Document
from envcheck.contract.wire import Inventory, InventoryAnswer
from envcheck_server.api.endpoint import Access, Call, Endpoint


async def put_inventory(call: Call) -> Document | ASGIResponse:
    """Replace the inventory."""
    inventory = call.document(Inventory)
    expect = call.site.services.inventory.expect
    return await call.site.write(lambda: expect(inventory.devices, by=call.by))


async def get_inventory(call: Call) -> Document | ASGIResponse:
    """Say how many devices are expected, and which of them are not there."""
    return await call.site.read(call.site.services.inventory.status)


ENDPOINTS = (
    Endpoint(
        "PUT",
        "/v1/inventory",
        Access(scopes=("operator",)),
        "Replace the inventory: the devices that ought to be there.",
        put_inventory,
        Inventory,
        InventoryAnswer,
        "max_document_bytes",
    ),
    Endpoint(
        "GET",
        "/v1/inventory",
        Access(scopes=("gate:read",)),
        "Count the devices that are expected, and those of them that are not there.",
        get_inventory,
        answer=InventoryAnswer,
    ),
)
