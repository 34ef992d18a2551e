"""A mail server as small as it can be and still be one: it speaks SMTP on a socket and keeps what it is handed."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import Message


class Mailbox:
    """Letters with their receivers; `refusing` answers every letter with that code instead."""

    def __init__(self, *, password: str = "") -> None:
        self.letters: list[tuple[list[str], Message]] = []
        self.refusing = self.refused_count = 0
        self.logins: list[str] = []
        self.port = 0
        self._password = password

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receivers: list[str] = []

        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say("220 mailbox ready")
        with contextlib.suppress(ConnectionError):
            while line := (await reader.readline()).decode().strip():
                word, _, rest = line.partition(" ")
                if word.upper() == "EHLO":
                    say("250-mailbox")
                    say("250 AUTH PLAIN")
                elif word.upper() == "AUTH":
                    given = base64.b64decode(rest.split(" ")[1]).decode().split("\0")
                    self.logins.append(given[1])
                    say("235 welcome" if given[2] == self._password else "535 wrong password")
                elif word.upper() == "RCPT":
                    receivers.append(rest.partition(":")[2].strip("<>"))
                    say("250 known")
                elif word.upper() == "DATA" and not self.refusing:
                    say("354 go on")
                    letter = await reader.readuntil(b"\r\n.\r\n")
                    self.letters.append((receivers, message_from_bytes(letter[:-5])))
                    say("250 kept")
                elif word.upper() == "QUIT":
                    say("221 bye")
                    break
                elif word.upper() == "DATA":
                    say(f"{self.refusing} not now")
                    self.refused_count += 1
                else:
                    say("250 fine")
        writer.close()


@contextlib.asynccontextmanager
async def delivering(mailbox: Mailbox, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Mailbox]:
    """The mailbox on a loopback port, until the block ends."""
    server = await asyncio.start_server(mailbox.serve, "127.0.0.1", port, ssl=tls)
    mailbox.port = server.sockets[0].getsockname()[1]
    async with server:
        yield mailbox
