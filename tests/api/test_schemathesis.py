"""Requests made from a schema get the same answers with the middleware and without it."""

from typing import Annotated

import pytest
from fastapi import Cookie, FastAPI, Header, HTTPException, Response
from hypothesis import HealthCheck, settings
from pydantic import BaseModel, Field

from overdrive.api import setup_performance_middleware

schemathesis = pytest.importorskip("schemathesis")


class Belief(BaseModel):
    name: str = Field(max_length=20)
    value: float = 0.0
    tags: list[str] = Field(default_factory=list, max_length=3)


def make_app():
    """Make an application whose answers depend on nothing but the request."""
    app = FastAPI()

    @app.get("/agents/{number}")
    async def agent(number: int, response: Response, verbose: bool = False):
        response.headers["cache-control"] = "public, max-age=60"
        if number < 0:
            raise HTTPException(404, "no such agent")
        return {"id": number, "text": "belief " * (300 if verbose else 1)}

    @app.get("/search")
    async def search(
        query: Annotated[str, "free text"] = "",
        limit: int = 10,
        accept_language: Annotated[str | None, Header()] = None,
        x_tenant: Annotated[str | None, Header()] = None,
    ):
        return {"query": query, "limit": limit, "language": accept_language, "tenant": x_tenant}

    @app.get("/me")
    async def me(session: Annotated[str | None, Cookie()] = None):
        return {"session": session}

    @app.post("/beliefs")
    async def believe(belief: Belief):
        return belief

    @app.delete("/beliefs/{name}", status_code=204)
    async def forget(name: str):
        pass

    @app.get("/text")
    async def text(size: Annotated[int, Field(ge=0, le=5000)] = 0):
        return Response("x" * size, media_type="text/plain")

    return app


BARE, WRAPPED = make_app(), make_app()
MIDDLEWARE = setup_performance_middleware(WRAPPED)
schema = schemathesis.openapi.from_asgi("/openapi.json", BARE)


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_answers_are_the_same_with_and_without_the_middleware(case):
    plain = case.call(app=BARE)
    for _ in range(2):
        reply = case.call(app=WRAPPED)
        assert reply.status_code == plain.status_code
        assert reply.content == plain.content
        assert reply.headers.get("content-type") == plain.headers.get("content-type")
    assert MIDDLEWARE.stats().cache.faults == 0
