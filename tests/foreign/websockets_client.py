"""Python's `websockets` as a client. Arguments: URL, number of messages, requests to send first. Prints each message on
a line, then pings, then closes and prints how that went."""

import asyncio
import sys

import websockets


async def main():
    url, count, *requests = sys.argv[1:]
    async with websockets.connect(url, subprotocols=["tidegate.v1"], proxy=None) as client:
        assert client.subprotocol == "tidegate.v1", client.subprotocol
        for request in requests:
            await client.send(request)
        for _ in range(int(count)):
            message = await client.recv()
            print(message if isinstance(message, str) else message.hex())
        pong = await client.ping(b"are you there")
        await pong
        print("pong are you there")
    print(f"closed {client.close_code}")


asyncio.run(main())
