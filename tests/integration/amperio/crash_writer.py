"""A process that keeps samples as fast as it can, and says each number only once it is durable; made to be killed."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from services.amperio.site.outbox import Outbox
from services.amperio.store import tables
from services.amperio.store.database import Database
from shared.contract.telemetry import Telemetry

AT = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
SITE = "SITE001"


async def main(path: Path) -> None:
    database = Database(path)
    epoch = await database.run(tables.stream_epoch)
    outbox = Outbox(SITE, epoch, await database.run(lambda store: tables.cursor_of(store, SITE)))
    second = 0
    while True:
        second += 1
        rows = outbox.rows_for(Telemetry(site_id=SITE, timestamp=AT + timedelta(seconds=second)), period_s=1e9)
        await database.run(partial(tables.keep_rows, site=SITE, rows=rows))
        outbox.kept(rows)
        say(rows[-1].seq)


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


asyncio.run(main(Path(sys.argv[1])))
