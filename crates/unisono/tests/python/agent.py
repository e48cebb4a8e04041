"""An agent in Python: speaks docs/protocol.md with a stock WebSocket library, and uses nothing of Unisono's own.

What it does with an activity is chosen by the activity's type. Usage: agent.py SERVER NAMESPACE NAME
"""

import asyncio
import contextlib
import datetime
import json
import signal
import sys
import uuid

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

TYPES = ["echo.py", "counter.py", "flaky.py", "wait.py", "fatal.py"]


def outcome(task):
    """How an attempt ends, and the context changes that become durable with its end."""
    error = {"code": "as-told", "message": f"attempt {task['attempt']} fails because its type says so"}
    count = task["context"].get("count", 0) + 1
    match task["activityType"]:
        case "echo.py":
            return {"complete": {"output": task["input"]}}, {}
        case "counter.py" if count <= 2:
            return {"schedule": {"afterMs": 10}}, {"set": {"count": count}}
        case "counter.py":
            return {"complete": {"output": {"count": count}}}, {"set": {"count": count}, "delete": ["note"]}
        case "flaky.py" if task["attempt"] == 1:
            return {"retry": {"error": error}}, {}
        case "flaky.py":
            return {"complete": {"output": {"attempt": task["attempt"]}}}, {}
        case "wait.py":
            return {"wait": {}}, {}
    return {"fatal": {"error": error}}, {}


class Agent:
    def __init__(self, server, namespace, name):
        self.url = f"{server.rstrip('/').replace('http', 'ws', 1)}/api/v1/namespaces/{namespace}/agents/connect"
        self.about = {"agent": name, "incarnation": str(uuid.uuid4()), "activityTypes": TYPES, "concurrency": 8}
        self.unaccepted = {}  # results that are not durable yet, by token

    async def run(self):
        """Connects again and again; an agent that is cancelled says goodbye."""
        while True:
            pause = 0.2
            try:
                async with connect(self.url, max_size=None, proxy=None) as self.socket:
                    pause = await self.converse()
            except (OSError, WebSocketException, TimeoutError) as lost:
                print(f"no connection, trying again: {lost}", file=sys.stderr)
            await asyncio.sleep(pause)

    async def converse(self):
        """One connection, until it ends; gives the seconds to wait before the next."""
        heartbeats = None
        try:
            await self.send({"hello": {"protocol": 1, **self.about, "holding": list(self.unaccepted)}})
            async for frame in self.socket:
                for message in json.loads(frame):
                    ((kind, body),) = message.items()
                    match kind:
                        case "welcome":
                            heartbeats = asyncio.create_task(self.heartbeats(body["heartbeatMs"] / 2000))
                            await self.resume(body)
                        case "activity":
                            await self.execute(body)
                        case "accepted" | "refused" | "cancel":
                            self.unaccepted.pop(body["token"], None)
                        case "reconnect":
                            return body["afterMs"] / 1000
                        case "error":
                            sys.exit(f"{body['code']}: {body['message']}")
            return 0.2
        except asyncio.CancelledError:
            with contextlib.suppress(WebSocketException):
                await self.send({"goodbye": {"reason": "told to stop"}})
            raise
        finally:
            if heartbeats:
                heartbeats.cancel()

    async def send(self, *messages):
        await self.socket.send(json.dumps(messages))

    async def heartbeats(self, seconds):
        with contextlib.suppress(WebSocketException):
            while True:
                await asyncio.sleep(seconds)
                await self.send({"heartbeat": {}})

    async def resume(self, welcome):
        for token in welcome["drop"]:
            self.unaccepted.pop(token, None)
        await self.send({"heartbeat": {}}, *({"result": result} for result in self.unaccepted.values()))

    async def execute(self, task):
        token, now = task["token"], datetime.datetime.now(datetime.timezone.utc).isoformat()
        text = f"{task['activityType']}, attempt {task['attempt']}"
        messages = [{"log": {"token": token, "at": now, "text": text}}]
        if task["activityType"] == "counter.py":
            messages.append({"heartbeat": {"token": token, "note": "counting"}})
            messages.append({"context": {"token": token, "patch": {"set": {"note": "counting"}}}})
        end, patch = outcome(task)
        self.unaccepted[token] = {"token": token, "outcome": end, "patch": patch}
        await self.send(*messages, {"result": self.unaccepted[token]})


async def main():
    running = asyncio.create_task(Agent(*sys.argv[1:]).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()


asyncio.run(main())
