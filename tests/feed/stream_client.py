"""Runs docs/clients/stream.py and prints what comes, one JSON value a line: `python stream_client.py URL STREAM...`.

The first wait is shorter than a client's, so that many cuts take little time.
"""
import asyncio, json, pathlib, sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs/clients"))
sys.dont_write_bytecode = True
import stream as client

client.BASE_S, client.MAX_S = 0.005, 0.05

async def main(url, *streams):
    async for item in client.stream(url, streams):
        if isinstance(item, client.Gap):
            print(json.dumps({"topic": item.topic, "from": item.first, "to": item.last}), flush=True)
        else:
            data = item.data if isinstance(item.data, str) else item.data.hex()
            print(json.dumps([item.topic, item.offset, data]), flush=True)

asyncio.run(main(*sys.argv[1:]))
