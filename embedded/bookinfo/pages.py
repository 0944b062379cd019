"""The HTML of the productpage. All text from other services and users is escaped."""

import re
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#222}
header{background:#222;color:#fff;padding:.6em 1.5em;display:flex;justify-content:space-between;align-items:center}
header a,header button{color:#fff}header form{display:inline}main{max-width:64em;margin:auto;padding:1em 1.5em}
h1{text-align:center;font-weight:500}.columns{display:flex;gap:3em;flex-wrap:wrap}.columns>section{flex:1;min-width:20em}
.error{background:#f2dede;border:1px solid #ebccd1;color:#a94442;border-radius:4px;padding:.8em 1em}
blockquote{margin:0 0 1em;border-left:4px solid #ddd;padding-left:1em}small{color:#666}dt{font-weight:600}dd{margin:0}
.by{display:grid;grid-template-columns:auto 1fr;gap:0 1em}.by small{font-size:1em}
"""
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#466bb0" d="M3 5c5-2 9-1 13 2 4-3 8-4 '
    '13-2v21c-5-2-9-1-13 2-4-3-8-4-13-2z"/><path stroke="#fff" stroke-width="2" d="M16 8v18"/></svg>'
)


class Tries(NamedTuple):
    """The requests to reviews for one page.

    Attributes:
        seconds: The time of all.
        failures: The reason of each that failed.
    """

    seconds: float
    failures: list[str]


def index() -> str:
    """Return the front page."""
    return _document(
        "Bookinfo",
        "",
        "<h1>Hello! This is a simple bookstore application</h1><p><a href='/productpage'>The book</a></p>",
    )


def productpage(
    product: dict[str, Any], details: dict[str, Any], reviews: dict[str, Any], user: str | None, tries: Tries
) -> str:
    """Return the book's page.

    Args:
        product: The book.
        details: The answer of details, or `error`.
        reviews: The answer of reviews, or `error`.
        user: Name of the user who is signed in; None means nobody.
        tries: The requests to reviews.
    """
    body = (
        f"<h1>{escape(product['title'])}</h1><p>{product['descriptionHtml']}</p>"
        f"<div class=columns><section><h4>Book Details</h4>{_details(details)}</section>"
        f"<section><h4>Book Reviews</h4>{_reviews(reviews)}{_served(reviews, tries)}</section></div>"
    )
    return _document("Simple Bookstore App", _sign_in(user), body)


def stars(count: int, color: str) -> str:
    """Return `count` of five stars in `color`."""
    full = max(0, min(5, count))
    return (
        f'<font color="{escape(color)}" aria-label="{full} of 5 stars">'
        + '<span class="glyphicon-star">★</span>' * full
        + '<span class="glyphicon-star-empty">☆</span>' * (5 - full)
        + "</font>"
    )


def _sign_in(user: str | None) -> str:
    if user:
        return f"<span>{escape(user)} (<a href='/logout'>sign out</a>)</span>"
    return (
        "<form method=post action=/login><input name=username placeholder='User Name' required> "
        "<input name=passwd type=password placeholder=Password> <input type=submit value='Sign in'></form>"
    )


def _error(what: str, message: str) -> str:
    return f"<div class=error><b>Error fetching product {what}!</b><p>{escape(message)}</p></div>"


def _details(details: dict[str, Any]) -> str:
    if "error" in details:
        return _error("details", str(details["error"]))
    rows = (
        ("Type", "type"),
        ("Pages", "pages"),
        ("Publisher", "publisher"),
        ("Language", "language"),
        ("ISBN-10", "ISBN-10"),
        ("ISBN-13", "ISBN-13"),
    )
    return "<dl>" + "".join(f"<dt>{t}:</dt><dd>{escape(str(details.get(k, '')))}</dd>" for t, k in rows) + "</dl>"


def _reviews(reviews: dict[str, Any]) -> str:
    if "error" in reviews:
        return _error("reviews", str(reviews["error"]))
    return "".join(_review(row) for row in reviews["reviews"])


def _served(reviews: dict[str, Any], tries: Tries) -> str:
    """Return the Pod, version and cluster that answered, the time, and the failed tries."""
    pod, cluster = str(reviews.get("podname", "")), str(reviews.get("clustername", "null"))
    version = re.search(r"-(v\d+)(-|$)", pod)
    failed = [f"try {number}: {why}" for number, why in enumerate(tries.failures, 1)]
    rows = {
        "Reviews served by:": f"<u>{escape(pod)}</u>" if pod else "",
        "Version:": f"<span id=version>{version[1]}</span>" if version else "",
        "Cluster:": f"<span id=cluster>{escape(cluster)}</span>" if cluster != "null" else "",
        "Reviews took:": f"<span id=took>{tries.seconds:.2f} s</span>",
        "Failed tries:": f"<span id=why>{escape('; '.join(failed))}</span>" if failed else "",
    }
    return "<dl class=by>" + "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows.items() if text) + "</dl>"


def _review(row: dict[str, Any]) -> str:
    rating, drawn = row.get("rating"), ""
    if rating and "error" in rating:
        drawn = f"<p><i>{escape(str(rating['error']))}</i></p>"
    elif rating:
        drawn = stars(int(rating["stars"]), str(rating["color"]))
    return f"<blockquote><p>{escape(row['text'])}</p><small>{escape(row['reviewer'])}</small> {drawn}</blockquote>"


def _document(title: str, corner: str, body: str) -> str:
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>"
        f"<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<link rel=icon href='data:image/svg+xml,{quote(_ICON)}'><style>{_STYLE}</style></head>"
        f"<body><header><a href='/productpage'>BookInfo Sample</a>{corner}</header><main>{body}</main></body></html>"
    )
