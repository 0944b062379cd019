"""The productpage: the book, its details and its reviews as a page and as JSON, and sign-in."""

import hashlib
import hmac
import os
import secrets
from typing import Any

from aiohttp import web

from embedded.bookinfo import pages
from embedded.bookinfo.server import SESSION, ServiceAnswer, application, fetch, forwarded, peer

COOKIE = "session"
TIMEOUT_SECONDS = 3.0
# The sample calls reviews twice: "Bug introduced explicitly for illustration in fault injection task".
REVIEW_TRIES = 2
PRODUCT = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": '<a href="https://en.wikipedia.org/wiki/The_Comedy_of_Errors">Wikipedia Summary</a>: The Comedy '
    "of Errors is one of <b>William Shakespeare's</b> early plays. It is his shortest and one of his most farcical "
    "comedies, with a major part of the humour coming from slapstick and mistaken identity, in addition to puns and "
    "word play.",
}


class Sessions:
    """Signed cookies: the user's name and a keyed hash, so that no client can forge one."""

    def __init__(self, key: bytes) -> None:
        """Sign with the secret `key`."""
        self._key = key

    def issue(self, user: str) -> str:
        """Return the cookie's value for `user`."""
        return f"{user.encode().hex()}.{self._sign(user)}"

    def user(self, cookie: str | None) -> str | None:
        """Return the user of a cookie; None for a missing or forged one."""
        try:
            encoded, signature = (cookie or "").split(".")
            user = bytes.fromhex(encoded).decode()
        except ValueError:
            return None
        return user if hmac.compare_digest(signature.encode(), self._sign(user).encode()) else None

    def _sign(self, user: str) -> str:
        return hmac.new(self._key, user.encode(), hashlib.sha256).hexdigest()


def productpage(_version: str) -> web.Application:
    """Return the productpage service; with SESSION_KEY, sign-ins survive a restart."""
    site = _Site(Sessions((os.environ.get("SESSION_KEY") or secrets.token_hex(32)).encode()))
    app = application("productpage")
    app.router.add_get("/", site.index)
    app.router.add_get("/productpage", site.page)
    app.router.add_post("/login", site.login)
    app.router.add_get("/logout", site.logout)
    app.router.add_get("/api/v1/products", site.products)
    app.router.add_get(r"/api/v1/products/{id:\d{1,9}}", site.details)
    app.router.add_get(r"/api/v1/products/{id:\d{1,9}}/{what:reviews|ratings}", site.reviews_or_ratings)
    return app


class _Site:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._details, self._reviews, self._ratings = peer("details"), peer("reviews"), peer("ratings")

    def _headers(self, request: web.Request) -> dict[str, str]:
        """Return the headers for peers: the signed-in user, never an `end-user` header of the browser."""
        headers = forwarded(request.headers)
        headers.pop("end-user", None)
        user = self._sessions.user(request.cookies.get(COOKIE))
        return {**headers, "end-user": user} if user else headers

    async def _get(self, request: web.Request, url: str) -> ServiceAnswer:
        return await fetch(request.app[SESSION], url, self._headers(request), TIMEOUT_SECONDS)

    async def _get_details(self, request: web.Request, book: str) -> tuple[int, Any]:
        return _result("details", await self._get(request, f"{self._details}/details/{book}"))

    async def _get_reviews(self, request: web.Request, book: str) -> list[ServiceAnswer]:
        """Return the answer of each try; only the last one may be a success."""
        tries: list[ServiceAnswer] = []
        while len(tries) < REVIEW_TRIES and not (tries and tries[-1].status == 200):
            tries.append(await self._get(request, f"{self._reviews}/reviews/{book}"))
        return tries

    async def index(self, _request: web.Request) -> web.Response:
        return web.Response(text=pages.index(), content_type="text/html")

    async def page(self, request: web.Request) -> web.Response:
        _, details = await self._get_details(request, "0")
        tries = await self._get_reviews(request, "0")
        _, reviews = _result("reviews", tries[-1])
        user = self._sessions.user(request.cookies.get(COOKIE))
        took = pages.Tries(sum(one.seconds for one in tries), [one.why for one in tries if one.why])
        text = pages.productpage(PRODUCT, details, reviews, user, took)
        return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})

    async def login(self, request: web.Request) -> web.Response:
        user = str((await request.post()).get("username", "")).strip()
        # The name becomes a header value.
        if not user or len(user) > 64 or not user.isascii() or not user.isprintable():
            return web.Response(status=400, text="a user name has 1 to 64 printable ASCII characters\n")
        answer = web.Response(status=302, headers={"Location": "/productpage"})
        answer.set_cookie(COOKIE, self._sessions.issue(user), httponly=True, samesite="Lax")
        return answer

    async def logout(self, _request: web.Request) -> web.Response:
        answer = web.Response(status=302, headers={"Location": "/productpage"})
        answer.del_cookie(COOKIE)
        return answer

    async def products(self, _request: web.Request) -> web.Response:
        return web.json_response([PRODUCT])

    async def details(self, request: web.Request) -> web.Response:
        status, body = await self._get_details(request, request.match_info["id"])
        return web.json_response(body, status=status)

    async def reviews_or_ratings(self, request: web.Request) -> web.Response:
        book, what = request.match_info["id"], request.match_info["what"]
        if what == "reviews":
            answer = (await self._get_reviews(request, book))[-1]
        else:
            answer = await self._get(request, f"{self._ratings}/ratings/{book}")
        status, body = _result(what, answer)
        return web.json_response(body, status=status)


def _result(what: str, answer: ServiceAnswer) -> tuple[int, Any]:
    """Return status and body as the sample's API gives them."""
    if answer.status == 200:
        return 200, answer.body
    return answer.status or 500, {"error": f"Sorry, product {what} are currently unavailable for this book."}
