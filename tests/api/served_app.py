"""What the real servers serve in the tests."""

import asyncio

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from overdrive.api import setup_performance_middleware

app = FastAPI()
middleware = setup_performance_middleware(app)
calls: dict[str, int] = {}
events = {name: asyncio.Event() for name in ("slow", "stream")}


def called(name: str) -> int:
    calls[name] = calls.get(name, 0) + 1
    return calls[name]


@app.get("/agents")
async def agents():
    number = called("agents")
    return [{"id": i, "call": number} for i in range(200)]


@app.get("/me")
async def me(request: Request):
    return {"cookie": request.headers.get("cookie"), "bearer": request.headers.get("authorization")}


@app.get("/slow")
async def slow():
    number = called("slow")
    await events["slow"].wait()
    return {"call": number}


@app.get("/stream")
async def stream():
    called("stream")

    async def chunks():
        yield "first\n"
        await events["stream"].wait()
        yield "second\n"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/told")
async def told():
    called("told")

    async def chunks():
        yield "first\n"
        await events["stream"].wait()
        yield "second\n"

    return StreamingResponse(chunks(), media_type="text/plain", headers={"content-length": "13"})


@app.post("/let/{name}")
async def let(name: str):
    events[name].set()


@app.get("/performance/calls")
async def count():
    return calls


@app.get("/performance/stats")
async def stats():
    return middleware.get_statistics()


@app.get("/conditional")
async def conditional(request: Request):
    headers = {"etag": '"1"', "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == '"1"':
        return JSONResponse(None, 304, headers)
    return JSONResponse({"call": called("conditional")}, headers=headers)
