"""The three services behind the productpage: reviews, ratings and details."""

import os
import random
import sys

from aiohttp import web

from embedded.bookinfo.server import SESSION, application, fetch, forwarded, peer, pod_name

# Version of reviews → colour of its stars; v1 does not call ratings.
STAR_COLORS: dict[str, str | None] = {"v1": None, "v2": "black", "v3": "red"}
TEXTS = {
    "Reviewer1": "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
    "Reviewer2": "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays "
    "by Shakespeare.",
}
RATINGS = {"Reviewer1": 5, "Reviewer2": 4}


def reviews(version: str) -> web.Application:
    """Return the reviews service: two reviews of any book, with stars by `version`.

    GET and DELETE of `/reviews/ID` answer 200; a successful DELETE shows that the lab's policy is missing. The variable
    REVIEWS_FAIL_PERCENT (0 to 100, decimals allowed) makes that share of GETs answer 503 with the same body, which
    distinguishes the application's failures from the mesh's.

    Raises:
        SystemExit: REVIEWS_FAIL_PERCENT is not a number from 0 to 100.
    """
    color = STAR_COLORS[version]
    fails = fail_share()
    ratings = peer("ratings") if "RATINGS_HOSTNAME" in os.environ else peer_in_own_namespace()
    # The sample gives v3 a shorter timeout than v2.
    seconds = 10.0 if color == "black" else 2.5
    app = application("reviews")

    async def show(request: web.Request) -> web.Response:
        book = request.match_info["id"]
        listed: list[dict[str, object]] = [{"reviewer": who, "text": text} for who, text in TEXTS.items()]
        if color is not None:
            answer = await fetch(request.app[SESSION], f"{ratings}/ratings/{book}", forwarded(request.headers), seconds)
            stars = answer.body.get("ratings") if answer.status == 200 and isinstance(answer.body, dict) else None
            for row in listed:
                row["rating"] = (
                    {"stars": stars.get(row["reviewer"], 0), "color": color}
                    if isinstance(stars, dict)
                    else {"error": "Ratings service is currently unavailable"}
                )
        cluster = os.environ.get("CLUSTER_NAME", "null")
        found = {"id": book, "podname": pod_name(), "clustername": cluster, "reviews": listed}
        return web.json_response(found, status=503 if random.random() < fails else 200)

    async def remove(request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["id"], "podname": pod_name(), "status": "deleted"})

    app.router.add_get("/reviews/{id}", show)
    app.router.add_delete("/reviews/{id}", remove)
    return app


def fail_share() -> float:
    """Return the share (0 to 1) of requests to fail, by REVIEWS_FAIL_PERCENT.

    Raises:
        SystemExit: It is not a number from 0 to 100.
    """
    text = os.environ.get("REVIEWS_FAIL_PERCENT") or "0"
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        sys.exit(f"REVIEWS_FAIL_PERCENT: {text!r} is no percentage; set a number from 0 to 100")
    return percent / 100


def peer_in_own_namespace() -> str:
    """Return the base URL of ratings, which shares a namespace with reviews."""
    return f"http://ratings:{os.environ.get('RATINGS_SERVICE_PORT') or '9080'}"


def ratings(_version: str) -> web.Application:
    """Return the ratings service: stars per reviewer; POST of `/ratings/ID` replaces them until the process ends."""
    app = application("ratings")
    posted: dict[int, dict[str, int]] = {}

    async def show(request: web.Request) -> web.Response:
        book = int(request.match_info["id"])
        return web.json_response({"id": book, "ratings": posted.get(book, RATINGS)})

    async def replace(request: web.Request) -> web.Response:
        book = int(request.match_info["id"])
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or not all(isinstance(stars, int) for stars in body.values()):
            return web.json_response({"error": "please provide valid ratings JSON"}, status=400)
        posted[book] = body
        return web.json_response({"id": book, "ratings": body})

    app.router.add_get(r"/ratings/{id:\d{1,9}}", show)
    app.router.add_post(r"/ratings/{id:\d{1,9}}", replace)
    app.router.add_route("*", "/ratings/{id}", _needs_number)
    return app


def details(_version: str) -> web.Application:
    """Return the details service: the data of the book."""
    app = application("details")

    async def show(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "id": int(request.match_info["id"]),
                "author": "William Shakespeare",
                "year": 1595,
                "type": "paperback",
                "pages": 200,
                "publisher": "PublisherA",
                "language": "English",
                "ISBN-10": "1234567890",
                "ISBN-13": "123-1234567890",
            }
        )

    app.router.add_get(r"/details/{id:\d{1,9}}", show)
    app.router.add_route("*", "/details/{id}", _needs_number)
    return app


async def _needs_number(_request: web.Request) -> web.Response:
    return web.json_response({"error": "please provide numeric product id"}, status=400)
