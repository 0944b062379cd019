"""The HTML of the productpage. All text from other services and users is escaped."""

from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#222}
header{background:#222;color:#fff;padding:.6em 1.5em;display:flex;justify-content:space-between;align-items:center}
header a,header button{color:#fff}header form{display:inline}main{max-width:64em;margin:auto;padding:1em 1.5em}
h1{text-align:center;font-weight:500}.columns{display:flex;gap:3em;flex-wrap:wrap}.columns>section{flex:1;min-width:20em}
.error{background:#f2dede;border:1px solid #ebccd1;color:#a94442;border-radius:4px;padding:.8em 1em}
blockquote{margin:0 0 1em;border-left:4px solid #ddd;padding-left:1em}small{color:#666}dt{font-weight:600}dd{margin:0}
"""


def index() -> str:
    """Return the front page."""
    return _document(
        "Bookinfo",
        "",
        "<h1>Hello! This is a simple bookstore application</h1><p><a href='/productpage'>The book</a></p>",
    )


def productpage(product: dict[str, Any], details: dict[str, Any], reviews: dict[str, Any], user: str | None) -> str:
    """Return the book's page; `details` and `reviews` hold the answers of their services, or `error`."""
    body = (
        f"<h1>{escape(product['title'])}</h1><p>{product['descriptionHtml']}</p>"
        f"<div class=columns><section><h4>Book Details</h4>{_details(details)}</section>"
        f"<section><h4>Book Reviews</h4>{_reviews(reviews)}</section></div>"
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
    return "".join(_review(row) for row in reviews["reviews"]) + (
        f"<dl><dt>Reviews served by:</dt><dd><u>{escape(str(reviews.get('podname', '')))}</u></dd></dl>"
    )


def _review(row: dict[str, Any]) -> str:
    rating, drawn = row.get("rating"), ""
    if rating and "error" in rating:
        drawn = f"<p><i>{escape(str(rating['error']))}</i></p>"
    elif rating:
        drawn = stars(int(rating["stars"]), str(rating["color"]))
    return f"<blockquote><p>{escape(row['text'])}</p><small>{escape(row['reviewer'])}</small> {drawn}</blockquote>"


def _document(title: str, corner: str, body: str) -> str:
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><header><a href='/productpage'>BookInfo Sample</a>{corner}</header><main>{body}</main></body></html>"
    )
