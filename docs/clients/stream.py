"""A client for tidegate's native protocol, on `websockets`: copy this file, it is yours (MIT OR Apache-2.0).

    async for item in stream("ws://127.0.0.1:8080/stream", ["demo.bbo.BTC-USD;last"]):
        print(item)

It comes back by itself and goes on where it was. A `Gap` among the publications says what cannot be had any more: what
was made of them is to be made anew. `python stream.py URL STREAM...` prints what comes.
"""
import asyncio, json, random, re, sys
from collections import namedtuple
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

BASE_S, MAX_S, SETTLED_S = 0.5, 30, 10
Publication = namedtuple("Publication", "topic offset data")  # data: the payload's JSON text, or the bytes of a binary one
Gap = namedtuple("Gap", "topic first last")  # last is None where nobody knows

async def stream(url, streams):
    places, failures, clock = {}, 0, asyncio.get_running_loop().time  # by topic: epoch, offset, whether it has `last`, what was said to be lost
    while True:
        code, opened = None, float("inf")
        try:
            async with connect(url, max_size=None) as socket:
                opened = clock()
                await socket.send(json.dumps({"method": "SUBSCRIBE", "params": [resumed(one, places) for one in streams]}))
                while True:
                    for item in take(await socket.recv(), places): yield item
        except ConnectionClosed as closed:
            code = closed.rcvd and closed.rcvd.code
        except InvalidStatus as refused:
            if refused.response.status_code < 500 and refused.response.status_code not in (408, 429): raise
        except (OSError, EOFError, WebSocketException): pass
        # Full jitter: a random wait below a bound that doubles, so that clients dropped together do not return together.
        failures = 0 if clock() - opened > SETTLED_S else failures + 1
        wait_s = random.uniform(0, min(MAX_S, BASE_S * 2**failures))
        if code == 1012: wait_s = random.uniform(5, 30)  # a restart, as the registry of close codes asks
        if code == 1013: wait_s += 5  # overload, or we were too slow: never at once
        await asyncio.sleep(wait_s)

def resumed(one, places):
    """A stream as it is asked for now: after what came last. No topic is at 0:0, so the reply then only tells where it stands."""
    topic, *options = [part for part in one.split(";") if not part.startswith("since=")]
    if re.search("[*>]", topic) or ";rate=" in one: return one
    given = re.search(r";since=(\w+):(\d+)", one)
    place = places.setdefault(topic, [given[1], int(given[2]), False, None] if given else [None, None, False, None])
    place[2] = "last" in options
    if place[1] is not None: options.insert(0, f"since={place[0]}:{place[1]}")
    elif not place[2]: options.insert(0, "since=0:0")
    return ";".join([topic, *options])

def take(message, places):
    """What a message tells of: a publication, gaps, or nothing that matters here."""
    if isinstance(message, bytes):  # layout 1, flags (1: a time follows), length of the topic, topic, offset, payload
        end = 4 + int.from_bytes(message[2:4])
        topic, offset, data = message[4:end].decode(), int.from_bytes(message[end : end + 8]), message[end + 8 + 8 * (message[1] & 1) :]
    elif message.startswith('{"stream":"'):  # a topic holds no quote, so the first `,"data":` is the publication's own
        head, data = message[:-1].split(',"data":', 1)
        topic, offset = (json.loads(head + "}")[key] for key in ("stream", "o"))
    else: return list(heard(json.loads(message), places))
    places.get(topic, [None] * 3)[1] = offset
    return [Publication(topic, offset, data)]

def heard(value, places):
    if "error" in value: raise RuntimeError(value["error"]["msg"])
    if value.get("e") == "gap": yield Gap(value["s"], value["from"], value["to"])
    if value.get("e") == "epoch": places.get(value["s"], [None] * 3)[:2] = value["epoch"], 0
    for entry in value.get("result") or []:
        topic, epoch, newest, place = entry["stream"], entry.get("epoch"), entry.get("offset"), places.get(entry["stream"])
        if place is None or epoch is None or entry.get("recovered"): continue
        seen, last = place[3] if place[1] is None else place[1], newest - place[2] if place[0] == epoch else None
        if seen is not None and (last is None or seen < last): yield Gap(topic, seen + 1, last)
        place[:] = [epoch, None, True, newest - 1 if seen is not None else None] if place[2] else [epoch, newest, False, None]  # `last`: the newest is still to come

async def main(url, *streams):
    async for item in stream(url, streams): print(*item, flush=True)

if __name__ == "__main__": asyncio.run(main(*sys.argv[1:]))
