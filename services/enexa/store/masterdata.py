"""Sites, assets, controllers, configurations and what the middleware said of them."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.enexa.registry.assets import AssetRecord, ControllerRecord, Key, SiteRecord
from services.enexa.store.committer import Committer
from services.enexa.store.database import Database
from services.enexa.store.schema import (
    assets,
    config_acks,
    configs,
    controllers,
    from_us,
    platform,
    sites,
    to_us,
)
from services.enexa.store.upsert import insert_new, upsert
from shared.contract.config import ConfigAck, SiteConfig
from shared.contract.registry import OnboardingState
from shared.errors import Conflict, LostUpdate


class MasterData:
    """The single source of truth; small tables, read whole or by key."""

    def __init__(self, database: Database, committer: Committer) -> None:
        self._database = database
        self._committer = committer

    async def next_number(self, name: str) -> int:
        """A number that grows by one at each call and survives restarts; the platform's epoch is one."""

        async def run(connection: AsyncConnection) -> int:
            query = select(platform.c.value).where(platform.c.name == name)
            value = int((await connection.execute(query)).scalar() or 0) + 1
            await upsert(connection, platform, [{"name": name, "value": value}])
            return value

        return await self._committer.write(run)

    # ---- sites, assets, controllers ---------------------------------------------------------------------------------

    async def sites(self) -> list[SiteRecord]:
        async with self._database.transaction() as connection:
            rows = (await connection.execute(select(sites).order_by(sites.c.site_id))).all()
        return [SiteRecord(id=row.site_id, name=row.name, timezone=row.timezone) for row in rows]

    async def assets(self, site_id: str | None = None) -> list[AssetRecord]:
        query = select(assets.c.body).order_by(assets.c.site_id, assets.c.asset_id)
        if site_id is not None:
            query = query.where(assets.c.site_id == site_id)
        async with self._database.transaction() as connection:
            bodies = (await connection.execute(query)).scalars().all()
        return [msgspec.json.decode(body, type=AssetRecord) for body in bodies]

    async def controllers(self) -> list[ControllerRecord]:
        async with self._database.transaction() as connection:
            rows = (await connection.execute(select(controllers).order_by(controllers.c.controller_id))).all()
        return [_controller(row) for row in rows]

    async def add_site(
        self,
        site: SiteRecord,
        equipment: Sequence[AssetRecord],
        config: SiteConfig,
        controller: ControllerRecord | None = None,
    ) -> None:
        """A site with everything that belongs to it, or nothing; a site that exists stays as it is."""

        async def run(connection: AsyncConnection) -> None:
            await insert_new(connection, sites, [{"site_id": site.id, "name": site.name, "timezone": site.timezone}])
            await insert_new(connection, assets, [_asset_row(each) for each in equipment])
            await insert_new(connection, configs, [_config_row(config)])
            if controller is not None:
                await insert_new(connection, controllers, [_controller_row(controller)])

        await self._committer.write(run)

    async def add_controller(self, record: ControllerRecord) -> None:
        """Conflict where the serial is registered already."""

        async def run(connection: AsyncConnection) -> None:
            taken = select(controllers.c.controller_id).where(
                (controllers.c.serial == record.serial) | (controllers.c.controller_id == record.id)
            )
            if (await connection.execute(taken)).first() is not None:
                raise Conflict("this serial is registered already", serial=record.serial)
            await insert_new(connection, controllers, [_controller_row(record)])

        await self._committer.write(run)

    async def change_controller(self, record: ControllerRecord) -> None:
        async def run(connection: AsyncConnection) -> None:
            await upsert(connection, controllers, [_controller_row(record)])

        await self._committer.write(run)

    async def assign_assets(self, site_id: str, controller_id: str) -> None:
        """Give a controller what has none at its site."""

        async def run(connection: AsyncConnection) -> None:
            query = select(assets.c.body).where(assets.c.site_id == site_id, assets.c.controller_id.is_(None))
            found = [
                msgspec.json.decode(body, type=AssetRecord) for body in (await connection.execute(query)).scalars()
            ]
            taken = [msgspec.structs.replace(each, controller_id=controller_id) for each in found]
            await upsert(connection, assets, [_asset_row(each) for each in taken])

        await self._committer.write(run)

    # ---- configurations ---------------------------------------------------------------------------------------------

    async def current_config(self, site_id: str) -> SiteConfig | None:
        found = await self.config_versions(site_id, limit=1)
        return found[0] if found else None

    async def config_versions(
        self, site_id: str, *, limit: int = 100, below_version: int | None = None
    ) -> list[SiteConfig]:
        """Versions of a site's configuration, newest first."""
        query = select(configs.c.body).where(configs.c.site_id == site_id)
        if below_version is not None:
            query = query.where(configs.c.version < below_version)
        async with self._database.transaction() as connection:
            bodies = (await connection.execute(query.order_by(configs.c.version.desc()).limit(limit))).scalars().all()
        return [msgspec.json.decode(body, type=SiteConfig) for body in bodies]

    async def add_config(self, config: SiteConfig) -> None:
        """A new version, one above the newest; LostUpdate where somebody was faster."""

        async def run(connection: AsyncConnection) -> None:
            query = select(func.max(configs.c.version)).where(configs.c.site_id == config.site_id)
            newest = (await connection.execute(query)).scalar()
            if (newest or 0) + 1 != config.version:
                raise LostUpdate("the configuration has changed meanwhile", current_version=newest)
            await insert_new(connection, configs, [_config_row(config)])

        await self._committer.write(run)

    async def add_config_ack(self, ack: ConfigAck) -> None:
        async def run(connection: AsyncConnection) -> None:
            await upsert(
                connection,
                config_acks,
                [
                    {
                        "site_id": ack.site_id,
                        "version": ack.version,
                        "status": ack.status,
                        "at_us": to_us(ack.timestamp),
                        "body": msgspec.json.encode(ack),
                    }
                ],
            )

        await self._committer.write(run)

    async def config_acks(self, site_id: str, limit: int = 20) -> list[ConfigAck]:
        """The middleware's words on versions, newest version first."""
        query = (
            select(config_acks.c.body)
            .where(config_acks.c.site_id == site_id)
            .order_by(config_acks.c.version.desc())
            .limit(limit)
        )
        async with self._database.transaction() as connection:
            bodies = (await connection.execute(query)).scalars().all()
        return [msgspec.json.decode(body, type=ConfigAck) for body in bodies]


def _asset_row(record: AssetRecord) -> dict[str, Any]:
    return {
        "site_id": record.site_id,
        "asset_id": record.id,
        "type": record.type,
        "controller_id": record.controller_id,
        "body": msgspec.json.encode(record),
    }


def _controller_row(record: ControllerRecord) -> dict[str, Any]:
    return {
        "controller_id": record.id,
        "site_id": record.site_id,
        "serial": record.serial,
        "state": record.state.value,
        "firmware": record.firmware,
        "key_sha256": record.key_sha256,
        "registered_us": to_us(record.registered_at),
        "retired_keys": msgspec.json.encode(record.retired_keys),
    }


def _controller(row: Any) -> ControllerRecord:
    return ControllerRecord(
        id=row.controller_id,
        site_id=row.site_id,
        serial=row.serial,
        state=OnboardingState(row.state),
        firmware=row.firmware,
        key_sha256=row.key_sha256,
        registered_at=from_us(row.registered_us),
        retired_keys=msgspec.json.decode(row.retired_keys, type=tuple[Key, ...]) if row.retired_keys else (),
    )


def _config_row(config: SiteConfig) -> dict[str, Any]:
    return {
        "site_id": config.site_id,
        "version": config.version,
        "updated_us": to_us(config.updated_at),
        "author": config.author,
        "body": msgspec.json.encode(config),
    }
