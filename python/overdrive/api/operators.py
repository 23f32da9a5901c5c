"""A router for those who run the service: statistics, health and purging.

It is not there unless it is made, and cannot be made without a dependency that says who may use it.
"""

from collections.abc import Callable
from typing import Any

from overdrive.api.middleware import PerformanceMiddleware
from overdrive.errors import missing_extra

__all__ = ["operators_router"]


def operators_router(
    middleware: PerformanceMiddleware,
    *,
    dependency: Callable[..., Any],
    prefix: str = "/performance",
) -> Any:
    """Make a FastAPI router with `GET /stats`, `GET /health` and `POST /purge`.

    No answer of it is cached. `POST /purge` takes one of the query parameters `pattern`, `path`
    and `tag`, or `everything=true`.

    Args:
        middleware: The one that serves the application, from `setup_performance_middleware`.
        dependency: A dependency of FastAPI that raises for whoever may not.
        prefix: Before the paths.

    Returns:
        An `APIRouter`, for `app.include_router`.

    Raises:
        MissingExtraError: If the extra `api` is not installed.
        TypeError: If the dependency is not callable.
    """
    try:
        from fastapi import APIRouter, Depends, HTTPException, Response  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("fastapi", "api") from error
    if not callable(dependency):
        raise TypeError(f"dependency must be a function that checks who asks, got {dependency!r}")

    def never_store(response: Response) -> None:
        response.headers["Cache-Control"] = "no-store"

    router = APIRouter(
        prefix=prefix,
        dependencies=[Depends(dependency), Depends(never_store)],
        tags=["performance"],
    )

    @router.get("/stats")
    async def stats() -> dict[str, Any]:
        return middleware.get_statistics()

    @router.get("/health")
    async def health() -> dict[str, Any]:
        cache = middleware.stats().cache
        return {
            "status": "degraded" if cache.faults else "ok",
            "faults": cache.faults,
            "shared_errors": cache.shared_errors,
            "size_bytes": cache.size_bytes,
            "max_bytes": cache.max_bytes,
        }

    @router.post("/purge")
    async def purge(
        pattern: str | None = None,
        path: str | None = None,
        tag: str | None = None,
        *,
        everything: bool = False,
    ) -> dict[str, int]:
        given = [name for name in (pattern, path, tag) if name is not None]
        if len(given) + everything != 1:
            raise HTTPException(422, "give one of pattern, path, tag and everything=true")
        return {"purged": await middleware.invalidate_cache(pattern, path=path, tag=tag)}

    return router
