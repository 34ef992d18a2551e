"""What an application hears of a request on a real socket: its body once, and then nothing until the caller is gone."""

import asyncio
from typing import Any

import pytest

from shared.rest.server import Listener, bind, serve

HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"
WITHIN_S = 15.0


@pytest.mark.parametrize("pieces", [[HEAD + b"abcdef"], [HEAD, b"abcdef"], [HEAD + b"abc", b"def"]])
async def test_a_body_is_heard_once_and_the_end_of_the_caller_once_he_is_gone(pieces: list[bytes]) -> None:
    heard: list[dict[str, Any]] = []
    body, gone = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        while not heard or heard[-1]["type"] != "http.disconnect":
            heard.append(await receive())
            assert len(heard) < 10
            if not heard[-1].get("more_body"):
                body.set()
        gone.set()

    probe = bind(Listener("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, [Listener("127.0.0.1", port)], stop=stop))
    reader, writer = await reached(port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    async with asyncio.timeout(WITHIN_S):
        await body.wait()
        told = [each["type"] for each in heard]
        writer.close()
        await gone.wait()
    stop.set()
    await serving

    assert set(told) == {"http.request"}
    assert b"".join(each.get("body", b"") for each in heard) == b"abcdef"
    assert [each["type"] for each in heard].count("http.disconnect") == 1
    assert not await reader.read()


async def reached(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
