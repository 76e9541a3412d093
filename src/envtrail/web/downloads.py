"""Files to download."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from envtrail.state.store import Query, Store
from envtrail.web.reading import Reading

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def add_downloads(app: FastAPI, reading_of: Callable[[Request], Reading]) -> None:
    """Mount `/environment/sbom`."""

    @app.get("/environment/sbom", include_in_schema=False)
    async def sbom(request: Request, prefix: str = "") -> Response:
        """The bill of materials of an environment as it is now; the same as `envtrail sbom` makes."""
        try:
            from envtrail.environments.sbom import render_bom
        except ImportError:
            return PlainTextResponse("the CycloneDX library is not installed: pip install 'envtrail[sbom]'\n", status_code=503)
        reading = reading_of(request)
        bill = await reading.query(lambda store: _bill(store, prefix, reading.config.node))
        if bill is None:
            return PlainTextResponse("no such environment, or access denied\n", status_code=404)
        name = _UNSAFE.sub("-", prefix.strip("/"))[-80:].strip("-.") or "environment"
        return Response(
            render_bom(bill, "json"),
            media_type="application/vnd.cyclonedx+json",
            headers={"Content-Disposition": f'attachment; filename="{name}.cdx.json"'},
        )


def _bill(store: Store, prefix: str, host: str) -> Bom | None:
    from envtrail.environments.sbom import bill_of

    environment = next((item for item in store.environments(with_gone=True) if item.prefix == prefix), None)
    taken = list(store.snapshots(prefix)) if environment is not None else []
    snapshot = store.snapshot(prefix, taken[-1].time_ms) if taken else None
    if environment is None or snapshot is None:
        return None
    seen = store.operations(Query(environment=prefix, until_ms=taken[-1].time_ms))
    return bill_of(environment, snapshot, taken, seen, host=host)
