"""Python's `websockets` as a client. Arguments: URL, number of messages, requests to send first. Prints each message on
a line, then pings, then closes and prints how that went. DEFLATE_PARAMETERS: what of permessage-deflate is offered (JSON);
DEFLATE: whether it must be `agreed` or `declined`."""

import asyncio
import json
import os
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


async def main():
    url, count, *requests = sys.argv[1:]
    offer = {}
    if "DEFLATE_PARAMETERS" in os.environ:
        factory = ClientPerMessageDeflateFactory(**json.loads(os.environ["DEFLATE_PARAMETERS"]))
        offer = {"extensions": [factory], "compression": None}
    async with websockets.connect(url, subprotocols=["tidegate.v1"], proxy=None, **offer) as client:
        assert client.subprotocol == "tidegate.v1", client.subprotocol
        agreed = "agreed" if client.protocol.extensions else "declined"
        assert os.environ.get("DEFLATE", agreed) == agreed, client.protocol.extensions
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
